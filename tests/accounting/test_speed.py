"""Expected time: measured where it can be, a named model where not."""

from decimal import Decimal

import pytest

from accounting.speed import Work, expected_time
from accounting.usage import Resources

CNN = Work(items=60_000, flop_per_item=72e6, startup_seconds=4)


def test_measured_speed_wins_over_the_model() -> None:
    """The median of earlier runs counts, and the answer says so."""
    expected = expected_time(CNN, Resources(cores=2), measured=[1_000, 3_000, 90_000])
    assert expected.seconds == Decimal(24)
    assert expected.measured
    assert expected.basis == "measured: 3,000 images/s (median of 3 runs)"


def test_without_history_the_model_is_named() -> None:
    """The basis holds the figures that the guess rests on."""
    expected = expected_time(CNN, Resources(cores=2))
    assert not expected.measured
    assert expected.seconds == Decimal("112.000")
    assert expected.basis == "model: 4.32e+12 FLOP at 20 GFLOP/s per core on 2 cores"


def test_the_model_knows_accelerators_and_counts_all_of_them() -> None:
    """GPUs carry the work where there are any; four of them are four times as fast as one."""
    work = Work(items=10**9, flop_per_item=1e9, unit="tokens")
    one = expected_time(work, Resources(cores=4, gpus=1, gpu_type="h100"))
    four = expected_time(work, Resources(cores=4, gpus=1, gpu_type="h100", nodes=2, processes=2))
    assert float(one.seconds) == pytest.approx(4 * float(four.seconds), rel=1e-4)
    assert four.basis == "model: 1e+18 FLOP at 30% of 989 TFLOP/s (h100) on 4 GPUs"
    unknown = expected_time(work, Resources(cores=4, gpus=1, gpu_type="rtx-4090"))
    assert "(generic)" in unknown.basis


@pytest.mark.parametrize(
    ("work", "resources", "measured", "message"),
    [
        (CNN, Resources(cores=0), [], "cores is 0 and so is gpus"),
        (CNN, Resources(cores=1), [0.0], "measured is 0.0 images/s; give speeds above 0"),
        (Work(items=-1, flop_per_item=1), Resources(cores=1), [], "items is -1"),
    ],
)
def test_impossible_work_is_refused(
    work: Work, resources: Resources, measured: list[float], message: str
) -> None:
    """Nobody waits for ever."""
    with pytest.raises(ValueError, match=message):
        expected_time(work, resources, measured=measured)
