"""The convolutional network of the classic MNIST example, for pictures of any size.

B pictures in a batch, H x W pixels, K classes.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from training.dropout import ByteDropout
from training.image_data import ImageManifest

MODEL_FILE = "model.safetensors"
CARD_FILE = "model.json"


@dataclass(frozen=True, kw_only=True)
class CNNConfig:
    """What is needed to build the network again."""

    height: int
    """H, pixels."""

    width: int
    """W, pixels."""

    classes: tuple[str, ...]
    """The names of the K classes, in the order of the logits."""

    mean: float
    """Mean brightness of the training pixels, where 1 is white."""

    std: float
    """Their standard deviation."""

    @classmethod
    def for_data(cls, manifest: ImageManifest) -> "CNNConfig":
        """Takes sizes, classes and moments from a prepared data set."""
        return cls(
            height=manifest.height,
            width=manifest.width,
            classes=manifest.classes,
            mean=manifest.mean,
            std=manifest.std,
        )


class ImageCNN(nn.Module):
    """Two convolutions, pooling, dropout and one hidden layer; 1.2 million weights at 28 x 28.

    It takes bytes and normalises them itself, so that nobody can do it differently.

        (B, H, W) uint8
        normalise           (B, 1, H, W)
        conv 3x3, ReLU      (B, 32, H-2, W-2)
        conv 3x3            (B, 64, H-4, W-4)
        max-pool 2x2, ReLU  (B, 64, (H-4)//2, (W-4)//2)
        flatten             (B, (H-4)//2 * (W-4)//2 * 64), 9216 at 28 x 28
        dropout 0.25
        linear, ReLU        (B, 128)
        dropout 0.5
        linear              (B, K) logits
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: CNNConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        features = 64 * ((config.height - 4) // 2) * ((config.width - 4) // 2)
        self.hidden = nn.Linear(features, 128)
        self.output = nn.Linear(128, len(config.classes))
        self.pooled_dropout = ByteDropout(0.25)
        self.hidden_dropout = ByteDropout(0.5)
        self.register_buffer("mean", torch.tensor(config.mean * 255), persistent=False)
        self.register_buffer("std", torch.tensor(config.std * 255), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the logits, (B, K), of `images`, (B, H, W) uint8."""
        x = ((images.float() - self.mean) / self.std).unsqueeze(1)  # (B, 1, H, W)
        x = F.relu(self.conv1(x))
        # max(relu(x)) = relu(max(x)), and the right side is a quarter of the work.
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        # In this order the features lie as channels-last memory has them: no copy, either way.
        x = self.pooled_dropout(x.permute(0, 2, 3, 1).flatten(1))
        x = F.relu(self.hidden(x))
        logits: Tensor = self.output(self.hidden_dropout(x))
        return logits


def save_cnn(model: ImageCNN, folder: Path) -> str:
    """Writes `model.safetensors` and `model.json`; returns the SHA-256 of the weights.

    The same weights give the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.detach().to("cpu", copy=True).contiguous()
        for name, tensor in model.state_dict().items()
    }
    _publish_by(lambda path: save_file(weights, path), folder / MODEL_FILE)
    card = json.dumps({"kind": "image-cnn", **asdict(model.config)}, indent=2, sort_keys=True)
    _publish_by(lambda path: path.write_text(card + "\n", encoding="utf-8"), folder / CARD_FILE)
    return hashlib.sha256((folder / MODEL_FILE).read_bytes()).hexdigest()


def load_cnn(folder: Path) -> ImageCNN:
    """Builds the network that `save_cnn` wrote, in evaluation mode, on the CPU.

    Raises:
        ValueError: The folder does not hold one.
    """
    card = folder / CARD_FILE
    if not card.is_file():
        raise ValueError(f"model folder {str(folder)!r} has no {CARD_FILE}; give a trained model")
    record: dict[str, Any] = json.loads(card.read_text(encoding="utf-8"))
    if record.pop("kind", None) != "image-cnn":
        raise ValueError(f"{card} does not describe an image-cnn; give a trained image model")
    model = ImageCNN(CNNConfig(**record | {"classes": tuple(record["classes"])}))
    model.load_state_dict(load_file(folder / MODEL_FILE))
    return model.eval()


@torch.inference_mode()
def predict_logits(model: nn.Module, images: Tensor, *, batch_size: int = 500) -> Tensor:
    """Returns the logits, (N, K) fp32 on the CPU, of `images`, (N, H, W) uint8.

    In fp32 and in fixed batches, so that the same weights give the same numbers wherever the
    model was loaded from.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    logits = [model(batch.to(device)).float().cpu() for batch in torch.split(images, batch_size)]
    model.train(was_training)
    return torch.cat(logits)


def _publish_by(write: Callable[[Path], object], path: Path) -> None:
    """Lets `write` fill a file that appears under its name only when it is complete."""
    partial = path.with_name(f".{path.name}.partial")
    write(partial)
    partial.replace(path)
