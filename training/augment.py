"""Small random shifts of pictures, drawn where the pictures live.

N pictures, B in a batch, H x W pixels, s the largest shift.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


class Shifts:
    """Hands out batches of pictures, each moved by up to `pixels` in both directions.

    All positions of all pictures are one view of a padded copy, so a shifted batch costs the same
    single gather as an unshifted one.
    """

    def __init__(self, images: Tensor, *, pixels: int) -> None:
        """Pads `images`, (N, H, W) uint8, with black."""
        _, height, width = images.shape
        self._sides = 2 * pixels + 1
        padded = F.pad(images, (pixels,) * 4)  # (N, H + 2s, W + 2s)
        self._windows = padded.unfold(1, height, 1).unfold(2, width, 1)  # (N, 2s+1, 2s+1, H, W)

    def batch(self, indices: Tensor) -> Tensor:
        """Returns the pictures at `indices`, (B,), as (B, H, W) uint8."""
        if self._sides == 1:
            return self._windows[indices, 0, 0]
        device = self._windows.device
        down, right = torch.randint(self._sides, (2, len(indices)), device=device)
        return self._windows[indices, down, right]
