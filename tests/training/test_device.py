"""Where a run computes: found by itself, or refused by name."""

import pytest
import torch

from training.device import choose_placement, multiplies_bf16


def test_auto_takes_what_is_here() -> None:
    """The automatic choice is a device that works, in bf16 only where the hardware has it."""
    placement = choose_placement()

    assert torch.ones(2, device=placement.device).sum() == 2
    assert (placement.precision == "bf16") == multiplies_bf16(placement.device)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_autocast_sets_the_precision_of_products(precision: str, dtype: torch.dtype) -> None:
    """Inside the context a matrix product has the chosen precision."""
    placement = choose_placement(device="cpu", precision=precision)

    with placement.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)

    assert product.dtype == dtype


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"device": "tpu"}, "device is 'tpu'; give auto or cpu or cuda or mps"),
        ({"precision": "fp8"}, "precision is 'fp8'; give auto or fp32 or bf16"),
    ],
)
def test_unknown_names_are_refused(given: dict[str, str], says: str) -> None:
    """A wrong name is answered with the right ones."""
    with pytest.raises(ValueError, match=says):
        choose_placement(**given)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_an_absent_gpu_is_refused() -> None:
    """Asking for a GPU that is not here says so."""
    with pytest.raises(ValueError, match="device is 'cuda', and this machine has none"):
        choose_placement(device="cuda")
