"""The network: its size, its file, and that its rewritten pooling is the textbook's."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from training.cnn import CNNConfig, ImageCNN, load_cnn, predict_logits, save_cnn


def config(height: int = 28, width: int = 28, classes: int = 10) -> CNNConfig:
    """Returns the network of a data set of that size."""
    return CNNConfig(
        height=height, width=width, classes=tuple("0123456789"[:classes]), mean=0.13, std=0.31
    )


def test_it_is_the_classic_network() -> None:
    """It computes what the textbook order of layers computes, with the same gradients."""
    torch.manual_seed(0)
    model = ImageCNN(config()).eval()
    images = torch.randint(0, 256, (5, 28, 28), dtype=torch.uint8)

    def classic() -> torch.Tensor:
        x = (images.unsqueeze(1) / 255 - 0.13) / 0.31
        x = F.relu(model.conv2(F.relu(model.conv1(x))))
        x = F.max_pool2d(x, 2).movedim(1, 3).flatten(1)
        return model.output(F.relu(model.hidden(x)))

    torch.testing.assert_close(model(images), classic(), rtol=1e-4, atol=1e-5)
    parameters = list(model.parameters())
    ours = torch.autograd.grad(model(images).square().sum(), parameters)
    theirs = torch.autograd.grad(classic().square().sum(), parameters)
    for mine, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, their, rtol=1e-3, atol=1e-4)
    assert sum(parameter.numel() for parameter in parameters) == 1_199_882


@pytest.mark.parametrize(("height", "width", "classes"), [(8, 8, 2), (9, 31, 3), (32, 20, 10)])
def test_any_size(height: int, width: int, classes: int) -> None:
    """Sizes and classes follow from the data."""
    images = torch.zeros(3, height, width, dtype=torch.uint8)

    assert predict_logits(ImageCNN(config(height, width, classes)), images).shape == (3, classes)


def test_saved_and_loaded(tmp_path: Path) -> None:
    """A model comes back with equal logits; the same weights give the same file."""
    model = ImageCNN(config()).to(memory_format=torch.channels_last)
    images = torch.randint(0, 256, (7, 28, 28), dtype=torch.uint8)

    first, again = save_cnn(model, tmp_path / "a"), save_cnn(model, tmp_path / "b")
    loaded = load_cnn(tmp_path / "a")

    assert first == again
    assert not loaded.training
    torch.testing.assert_close(predict_logits(loaded, images), predict_logits(model, images))
    again_loaded = predict_logits(load_cnn(tmp_path / "b"), images)
    assert torch.equal(predict_logits(loaded, images), again_loaded)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    """An empty folder, or one with another kind of model, is refused in one line."""
    with pytest.raises(ValueError, match=r"has no model.json"):
        load_cnn(tmp_path)
    (tmp_path / "model.json").write_text('{"kind": "language-model"}')
    with pytest.raises(ValueError, match="does not describe an image-cnn"):
        load_cnn(tmp_path)


def test_exports_without_its_code() -> None:
    """The model exports as a program for any batch size, the form that the registry keeps."""
    model = ImageCNN(config(12, 12, 3)).eval()
    example = torch.zeros(2, 12, 12, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=1024)

    program = torch.export.export(model, (example,), dynamic_shapes=({0: batch},)).module()

    images = torch.randint(0, 256, (5, 12, 12), dtype=torch.uint8)
    torch.testing.assert_close(program(images), model(images))
