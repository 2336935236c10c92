"""The small parts of the loop: schedule, shifts and clock."""

import pytest
import torch

from training.augment import Shifts
from training.device import choose_placement
from training.dropout import ByteDropout
from training.schedule import SCHEDULES, Schedule, learning_rate_factor
from training.step_clock import StepClock


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("total_steps", [1, 2, 3, 10, 1000])
def test_learning_rate_stays_in_bounds(schedule: Schedule, total_steps: int) -> None:
    """The factor reaches 1 once, rises before and never rises after."""
    factors = [
        learning_rate_factor(step, total_steps, schedule=schedule, warmup_fraction=0.3)
        for step in range(total_steps)
    ]

    peak = factors.index(max(factors))
    assert factors[peak] == 1
    assert all(0 <= factor <= 1 for factor in factors)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def test_shifts_move_pictures_whole() -> None:
    """A shifted picture is the picture moved, black moving in; all shifts come up."""
    images = torch.zeros(1, 6, 6, dtype=torch.uint8)
    images[0, 3, 3] = 200
    torch.manual_seed(0)

    batch = Shifts(images, pixels=2).batch(torch.zeros(500, dtype=torch.long))

    places = {tuple(torch.nonzero(picture)[0].tolist()) for picture in batch}
    assert places == {(row, column) for row in range(1, 6) for column in range(1, 6)}
    assert (batch.sum(dim=(1, 2)) == 200).all()


def test_no_shift_is_no_change() -> None:
    """Zero pixels give the pictures as they are."""
    images = torch.randint(0, 256, (9, 5, 7), dtype=torch.uint8)
    indices = torch.tensor([4, 4, 0])

    assert torch.equal(Shifts(images, pixels=0).batch(indices), images[indices])


def test_clock_leaves_out_what_is_skipped() -> None:
    """Pauses count for no step, and a window is shared among its steps."""
    now = [0.0]
    clock = StepClock(choose_placement(device="cpu"), now=lambda: now[0])

    now[0] = 2.0
    assert clock.tick(is_reading=True) == 2.0
    now[0] = 10.0
    clock.skip()
    now[0] = 11.0
    assert clock.tick(is_reading=False) == 0.0
    now[0] = 14.0
    assert clock.tick(is_reading=True) == 4.0
    assert clock.seconds == [2.0, 2.0, 2.0]
    assert clock.rate(10) == 5.0
    assert clock.flush() == 0.0


@pytest.mark.parametrize("p", [0.25, 0.5, 0.75])
def test_dropout_drops_its_part(p: float) -> None:
    """The part `p` goes, the rest is scaled up, and gradients follow the same mask."""
    torch.manual_seed(0)
    x = torch.ones(999, 101, requires_grad=True)

    y = ByteDropout(p)(x)
    y.sum().backward()

    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())
    assert y.unique().tolist() == pytest.approx([0, 1 / (1 - p)])
    assert float((y == 0).float().mean()) == pytest.approx(p, abs=0.005)
    for position in range(8):  # every byte of a drawn number is as random as the others
        part = y.flatten()[position::8]
        assert float((part == 0).float().mean()) == pytest.approx(p, abs=0.015)


def test_dropout_does_nothing_in_evaluation() -> None:
    """An evaluated model keeps everything."""
    x = torch.randn(5, 7)

    assert torch.equal(ByteDropout(0.5).eval()(x), x)


@pytest.mark.parametrize("p", [-0.5, 0.1, 1.0])
def test_dropout_refuses_what_bytes_cannot_say(p: float) -> None:
    """A part that is no multiple of 1/256 is refused."""
    with pytest.raises(ValueError, match=f"p is {p}; give a multiple of 1/256"):
        ByteDropout(p)
