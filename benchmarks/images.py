"""Images per second and time to 90% on 60,000 pictures, against the usual PyTorch example.

    python benchmarks/images.py [--data FOLDER] [--epochs 3] [--json FILE]

The data are the four IDX files of Fashion-MNIST (Debian package `dataset-fashion-mnist`). Three
comparisons, every run in a process of its own, one after the other:

- The loop of this project against the usual way, written here: torchvision's data set, a transform
  for each picture in a DataLoader, fp32, the textbook order of layers, the example's Adadelta with
  its step decay. Same network, same batch size, same threads, same number of epochs.
- Two ranks of one thread each against one process of one thread: on the same batches, of which each
  rank has half, and on batches of twice the size, of which each has as much as the one process.
- Two such processes that share nothing, which is what the machine itself allows.

Images per second are those of training alone, of the median epoch. The time to 90% is the time in
training and scoring up to the end of the first epoch with at least 90% of the 10,000 held-out
pictures right.
"""

import argparse
import gzip
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
TARGET_ACCURACY = 0.9
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run measured."""

    images_per_second: float
    """Of the median epoch, training alone."""

    accuracies: tuple[float, ...]
    """Part of the held-out pictures that are right, after each epoch."""

    seconds_to_target: float | None
    """Training and scoring up to `TARGET_ACCURACY`; None if it was not reached."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table."""

    measure: str
    ours: float | None
    peer: float | None
    ratio: float | None
    unit: str


def usual_example(folder: Path, *, epochs: int, batch_size: int, workers: int) -> Run:
    """Trains the way the well-known MNIST example feeds its network."""
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(1, 32, 3)
            self.conv2 = nn.Conv2d(32, 64, 3)
            self.dropout1 = nn.Dropout(0.25)
            self.dropout2 = nn.Dropout(0.5)
            self.fc1 = nn.Linear(9216, 128)
            self.fc2 = nn.Linear(128, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.conv2(F.relu(self.conv1(x))))
            x = self.dropout1(F.max_pool2d(x, 2)).flatten(1)
            return F.log_softmax(self.fc2(self.dropout2(F.relu(self.fc1(x)))), dim=1)

    torch.manual_seed(0)
    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.286,), (0.353,))]
    )
    with tempfile.TemporaryDirectory() as root:
        raw = Path(root) / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        for packed in folder.glob("*.gz"):
            with gzip.open(packed) as source, (raw / packed.stem).open("wb") as target:
                shutil.copyfileobj(source, target)
        train = datasets.FashionMNIST(root, train=True, transform=transform)
        test = datasets.FashionMNIST(root, train=False, transform=transform)
    batches = DataLoader(train, batch_size=batch_size, shuffle=True, num_workers=workers)
    test_batches = DataLoader(test, batch_size=1000, num_workers=workers)
    model = Net()
    optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)

    rates, accuracies, elapsed = [], [], 0.0
    to_target = None
    for _ in range(epochs):
        begin = time.perf_counter()
        model.train()
        for images, labels in batches:
            optimizer.zero_grad()
            loss = F.nll_loss(model(images), labels)
            loss.backward()
            optimizer.step()
        trained = time.perf_counter()
        rates.append(len(train) / (trained - begin))
        model.eval()
        with torch.no_grad():
            right = sum(
                int((model(images).argmax(1) == labels).sum()) for images, labels in test_batches
            )
        schedule.step()
        accuracies.append(right / len(test))
        elapsed += time.perf_counter() - begin
        if to_target is None and accuracies[-1] >= TARGET_ACCURACY:
            to_target = elapsed
    return Run(
        images_per_second=statistics.median(rates),
        accuracies=tuple(accuracies),
        seconds_to_target=to_target,
    )


def our_loop(prepared: Path, *, epochs: int, batch_size: int) -> Run:
    """Trains with the loop of this project, as one rank among those of the environment."""
    from training.classifier import train_classifier
    from training.classifier_config import ClassifierConfig
    from training.distributed import process_group
    from training.image_data import load_images

    config = ClassifierConfig(epochs=epochs, batch_size=batch_size)
    with tempfile.TemporaryDirectory() as out, process_group() as ranks:
        result = train_classifier(config, load_images(prepared), out=Path(out), ranks=ranks)
    elapsed, to_target = 0.0, None
    for record in result.history:
        elapsed += record.train_seconds + record.test_seconds
        if to_target is None and (record.test_accuracy or 0) >= TARGET_ACCURACY:
            to_target = elapsed
    return Run(
        images_per_second=statistics.median(r.images_per_second for r in result.history),
        accuracies=tuple(r.test_accuracy or 0.0 for r in result.history),
        seconds_to_target=to_target,
    )


def in_processes(
    order: dict[str, Any], *, count: int = 1, threads: int = 1, is_one_run: bool = True
) -> list[Run]:
    """Carries out an order in `count` processes at once: the ranks of one run, or runs apart."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    started = []
    for rank in range(count):
        place = {}
        if is_one_run and count > 1:
            place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
            place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, __file__, "--order", json.dumps(order)]
        started.append(
            subprocess.Popen(command, env=env | place, stdout=subprocess.PIPE, text=True)
        )
    runs = []
    for process in started:
        said, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(f"a run failed with exit status {process.returncode}: {order}")
        record = json.loads(said.splitlines()[-1])
        runs.append(Run(**record | {"accuracies": tuple(record["accuracies"])}))
    return runs


def carry_out(order: dict[str, Any]) -> Run:
    """Carries out an order in this process."""
    order = dict(order)
    if order.pop("kind") == "usual":
        return usual_example(Path(order.pop("folder")), **order)
    return our_loop(Path(order.pop("prepared")), **order)


def measure(folder: Path, *, epochs: int, batch_size: int, threads: int) -> list[Row]:
    """Runs all comparisons; several minutes on two cores."""
    from training.image_data import prepare_images

    with tempfile.TemporaryDirectory() as temporary:
        prepared = Path(temporary)
        prepare_images(folder, prepared)
        ours = {"kind": "ours", "prepared": str(prepared), "batch_size": batch_size}
        usual = {"kind": "usual", "folder": str(folder), "batch_size": batch_size}
        (mine,) = in_processes(ours | {"epochs": epochs}, threads=threads)
        # One epoch decides whether the usual way is faster with a worker process on this machine.
        workers = max(
            (0, 1),
            key=lambda count: (
                in_processes(usual | {"epochs": 1, "workers": count}, threads=threads)[
                    0
                ].images_per_second
            ),
        )
        (peer,) = in_processes(usual | {"epochs": epochs, "workers": workers}, threads=threads)
        once = ours | {"epochs": 1}
        (alone,) = in_processes(once)
        together = in_processes(once, count=2)
        wide = in_processes(once | {"batch_size": 2 * batch_size}, count=2)
        apart = in_processes(once, count=2, is_one_run=False)
    return rows(mine, peer, alone, together, wide, apart, workers=workers)


def rows(
    mine: Run,
    peer: Run,
    alone: Run,
    together: list[Run],
    wide: list[Run],
    apart: list[Run],
    *,
    workers: int,
) -> list[Row]:
    """Arranges what was measured."""
    pair = sum(run.images_per_second for run in apart)
    speed = Row(
        measure=f"training, peer with {workers} DataLoader workers",
        ours=mine.images_per_second,
        peer=peer.images_per_second,
        ratio=mine.images_per_second / peer.images_per_second,
        unit="images/s",
    )
    mine_at, peer_at = mine.seconds_to_target, peer.seconds_to_target
    target = Row(
        measure=f"time to {TARGET_ACCURACY:.0%} of the held-out pictures",
        ours=mine_at,
        peer=peer_at,
        ratio=peer_at / mine_at if mine_at and peer_at else None,
        unit="s",
    )
    final = Row(
        measure=f"accuracy after {len(mine.accuracies)} epochs",
        ours=mine.accuracies[-1] * 100,
        peer=peer.accuracies[-1] * 100,
        ratio=None,
        unit="%",
    )
    scaling = Row(
        measure="2 ranks against twice 1 process, one thread each",
        ours=together[0].images_per_second,
        peer=2 * alone.images_per_second,
        ratio=together[0].images_per_second / (2 * alone.images_per_second),
        unit="images/s",
    )
    weak = replace(
        scaling,
        measure="2 ranks with a whole batch each against twice 1 process",
        ours=wide[0].images_per_second,
        ratio=wide[0].images_per_second / (2 * alone.images_per_second),
    )
    ceiling = replace(
        scaling,
        measure="2 ranks against 2 processes that share nothing",
        peer=pair,
        ratio=together[0].images_per_second / pair,
    )
    return [speed, target, final, scaling, weak, ceiling]


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DEBIAN_FOLDER, help="folder of IDX files")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, help="also write the rows here")
    parser.add_argument("--order", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.order:
        print(json.dumps(asdict(carry_out(json.loads(given.order)))))
        return
    if not given.data.is_dir():
        parser.error(
            f"--data is {str(given.data)!r}, which is no folder; "
            "`apt-get install dataset-fashion-mnist` brings one"
        )
    table = measure(
        given.data, epochs=given.epochs, batch_size=given.batch_size, threads=given.threads
    )
    print("| measure | ours | peer | ratio | unit |\n|---|---|---|---|---|")
    for row in table:
        cells = [f"{v:,.2f}" if v is not None else "not reached" for v in (row.ours, row.peer)]
        ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
        print(f"| {row.measure} | {cells[0]} | {cells[1]} | {ratio} | {row.unit} |")
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in table], indent=2) + "\n")


if __name__ == "__main__":
    main()
