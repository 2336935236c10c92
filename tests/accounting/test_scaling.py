"""Scaling: the communication model, its fit to measurements and its verdicts."""

import doctest
import random
from collections.abc import Callable
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting import least_squares, scaling
from accounting.scaling import (
    NETWORKS,
    Network,
    ScalingModel,
    ScalingPoint,
    adapter_parameters,
    fit,
    gradient_bytes,
)

DISTILGPT2 = gradient_bytes(81_912_576)
MODEL = ScalingModel(compute_seconds=1.0, payload_bytes=DISTILGPT2, network=NETWORKS["1gbe"])


def test_doctests_hold() -> None:
    """The examples in the docstrings are true."""
    for module in (scaling, least_squares):
        assert doctest.testmod(module).failed == 0


def test_full_gradients_over_1gbe_are_slower_than_one_node() -> None:
    """DistilGPT2 in fp32 over 1 GbE sends for 2.6 s a step, and the verdict says it is slower."""
    assert MODEL.all_reduce_seconds(2) == pytest.approx(2.62, abs=0.01)
    assert MODEL.speedup(2) < 1
    assert "slower than one" in MODEL.verdict(2)
    assert MODEL.fastest(8) == 1


def test_adapters_over_1gbe_are_faster_than_one_node() -> None:
    """The same model under LoRA sends only adapters, and two workers pay off."""
    adapters = adapter_parameters([(768, 2304)] * 6, rank=8)
    model = ScalingModel(
        compute_seconds=1.0, payload_bytes=gradient_bytes(adapters), network=NETWORKS["1gbe"]
    )
    assert model.efficiency(2) > 0.98
    assert "faster than one" in model.verdict(2)


def test_efficiency_is_not_a_constant() -> None:
    """Efficiency falls with every worker and differs between networks: no flat percentage."""
    mnist = ScalingModel(compute_seconds=0.1, payload_bytes=4.8e6, network=NETWORKS["1gbe"])
    efficiencies = [mnist.efficiency(workers) for workers in range(1, 9)]
    assert efficiencies == sorted(efficiencies, reverse=True)
    assert mnist.all_reduce_seconds(2) == pytest.approx(0.0386, abs=1e-3)
    fast = ScalingModel(compute_seconds=0.1, payload_bytes=4.8e6, network=NETWORKS["100gbe"])
    assert fast.efficiency(2) > mnist.efficiency(2) + 0.2


def test_overlap_hides_at_most_the_communication() -> None:
    """Overlap shortens a step, never below its compute, and is named among the assumptions."""
    slow = ScalingModel(compute_seconds=0.2, payload_bytes=4.8e6, network=NETWORKS["1gbe"])
    hidden = ScalingModel(
        compute_seconds=0.2, payload_bytes=4.8e6, network=NETWORKS["1gbe"], overlap=0.6
    )
    assert hidden.step_seconds(2) == pytest.approx(0.1)
    assert hidden.step_seconds(2) < slow.step_seconds(2)
    assert "60% of compute hides communication" in hidden.assumptions()


@given(
    compute=st.floats(0.01, 10),
    bandwidth=st.floats(1e7, 1e10),
    latency=st.floats(1e-6, 1e-2),
)
def test_fit_recovers_the_model_that_made_the_points(
    compute: float, bandwidth: float, latency: float
) -> None:
    """Points without noise give back every quantity that shows in them."""
    truth = ScalingModel(
        compute_seconds=compute,
        payload_bytes=DISTILGPT2,
        network=Network(bandwidth_bytes_per_second=bandwidth, latency_seconds=latency),
    )
    points = [
        ScalingPoint(workers=n, step_seconds=truth.step_seconds(n)) for n in (1, 2, 3, 4, 8, 16)
    ]
    fitted = fit(points, payload_bytes=DISTILGPT2, network=NETWORKS["1gbe"])
    for workers in (1, 2, 6, 32):
        assert fitted.step_seconds(workers) == pytest.approx(truth.step_seconds(workers), rel=1e-6)
    assert fitted.source == "fitted to 6 points"


def test_fit_to_one_point_keeps_the_stated_network() -> None:
    """One measured step on one worker gives compute; the network stays as stated."""
    fitted = fit(
        [ScalingPoint(workers=1, step_seconds=0.5)],
        payload_bytes=DISTILGPT2,
        network=NETWORKS["1gbe"],
    )
    assert fitted.compute_seconds == pytest.approx(0.5)
    assert fitted.network == NETWORKS["1gbe"]


def test_fit_never_returns_negative_times() -> None:
    """Noisy points that would ask for a negative latency get zero instead."""
    points = [
        ScalingPoint(workers=n, step_seconds=s) for n, s in ((1, 1.0), (2, 0.9), (4, 0.7), (8, 0.2))
    ]
    fitted = fit(points, payload_bytes=DISTILGPT2, network=NETWORKS["1gbe"])
    assert fitted.network.latency_seconds == 0
    assert fitted.compute_seconds > 0


@given(
    targets=st.lists(st.floats(-5, 5), min_size=4, max_size=4),
    seed=st.integers(0, 10_000),
)
def test_least_squares_is_not_beaten_by_any_grid_point(targets: list[float], seed: int) -> None:
    """No non-negative grid point has a smaller error than the solution."""
    draw = random.Random(seed)
    rows = [[draw.uniform(0, 1) for _ in range(3)] for _ in targets]

    def error(x: tuple[float, ...]) -> float:
        return sum(
            (sum(a * b for a, b in zip(row, x, strict=True)) - t) ** 2
            for row, t in zip(rows, targets, strict=True)
        )

    solution = tuple(least_squares.non_negative_least_squares(rows, targets))
    assert min(solution) >= 0
    grid = product([0.0, 0.5, 1.0, 2.0, 4.0], repeat=3)
    assert error(solution) <= min(map(error, grid)) + 1e-9


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: gradient_bytes(1, precision="int3"), "precision is 'int3'"),
        (lambda: MODEL.step_seconds(0), "workers is 0"),
        (lambda: Network(bandwidth_bytes_per_second=0, latency_seconds=0), "bandwidth"),
        (lambda: fit([], payload_bytes=1, network=NETWORKS["1gbe"]), "points is empty"),
        (
            lambda: ScalingModel(
                compute_seconds=1, payload_bytes=1, network=NETWORKS["1gbe"], overlap=1.5
            ),
            "overlap is 1.5",
        ),
        (lambda: ScalingPoint(workers=1, step_seconds=float("nan")), "step_seconds is nan"),
        (
            lambda: fit(
                [ScalingPoint(workers=2, step_seconds=0.1)],
                payload_bytes=DISTILGPT2,
                network=NETWORKS["1gbe"],
            ),
            "measure more worker counts",
        ),
    ],
)
def test_bad_input_is_refused_by_name(call: Callable[[], object], names: str) -> None:
    """Each bad value is refused with one line that names it."""
    with pytest.raises(ValueError, match=names) as caught:
        call()
    assert "\n" not in str(caught.value)
