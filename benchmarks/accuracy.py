"""Accuracy of the image loop with its defaults, over several seeds, in one process or several.

    python benchmarks/accuracy.py [--data mnist-5k] [--seeds 5] [--processes 1]

`--data` is a name, a folder of IDX files (Debian's `dataset-fashion-mnist` brings one under
/usr/share/datasets), or an address. The held-out pictures are scored once, after the last epoch.
Wall time is that of the training steps; processor time is that of rank 0 with everything.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def train(prepared: Path, *, seeds: int) -> None:
    """Trains once for each seed, as one rank among those of the environment; rank 0 prints."""
    from training.classifier import train_classifier
    from training.classifier_config import ClassifierConfig
    from training.distributed import process_group
    from training.image_data import load_images

    data = load_images(prepared)
    with process_group() as ranks, tempfile.TemporaryDirectory() as out:
        for seed in range(seeds):
            begin = time.process_time()
            config = ClassifierConfig(seed=seed, evaluate_epochs=False)
            result = train_classifier(config, data, out=Path(out), ranks=ranks)
            last = result.history[-1]
            record = {
                "seed": seed,
                "epochs": result.epochs,
                "accuracy": last.test_accuracy,
                "train_seconds": result.train_seconds,
                "processor_seconds": time.process_time() - begin,
                "precision": result.precision,
                "world_size": result.world_size,
            }
            if ranks.is_main:
                print(json.dumps(record), flush=True)


def start(prepared: Path, *, seeds: int, processes: int) -> list[dict[str, float]]:
    """Starts the ranks, with the cores divided among them, and collects what rank 0 prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = max(1, (os.cpu_count() or 1) // processes)
    env = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    env |= {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, __file__, "--prepared", str(prepared), "--seeds", str(seeds)]
    ranks = [
        subprocess.Popen(
            command,
            env=env | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    records = []
    for line in ranks[0].stdout or ():
        records.append(json.loads(line))
        print(line, end="", file=sys.stderr, flush=True)
    if any(rank.wait() for rank in ranks):
        raise RuntimeError("a rank failed; its error is above")
    return records


def main() -> None:
    """Measures and prints one line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="mnist-5k", help="name, folder or address")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--prepared", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.prepared:
        train(given.prepared, seeds=given.seeds)
        return
    from training.image_data import prepare_images

    with tempfile.TemporaryDirectory() as prepared:
        manifest = prepare_images(given.data, Path(prepared))
        records = start(Path(prepared), seeds=given.seeds, processes=given.processes)
    percent = [record["accuracy"] * 100 for record in records]
    mean, least = statistics.mean(percent), min(percent)
    spread = statistics.stdev(percent) if len(percent) > 1 else 0.0
    print(
        f"{given.data}: {manifest.train_count:,} pictures, {records[0]['epochs']} epochs, "
        f"{given.processes} processes, {len(records)} seeds: "
        f"accuracy {mean:.2f}% ± {spread:.2f} (least {least:.2f}), "
        f"{statistics.median(record['train_seconds'] for record in records):.1f} s of training, "
        f"{statistics.median(record['processor_seconds'] for record in records):.1f} s of processor"
    )


if __name__ == "__main__":
    main()
