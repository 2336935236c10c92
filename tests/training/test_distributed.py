"""What the processes of a run say to each other, in one process and in two real ones."""

import os
import socket
import subprocess
import sys

import pytest

from training.distributed import Ranks, agree, process_group, ranks_from_environment, sum_over_ranks

TWO = """
from training.distributed import agree, barrier, process_group, sum_over_ranks
with process_group(timeout_seconds=30) as ranks:
    barrier(ranks)
    mine = "budget: 0.10 USD, all of it spent (2 €)" if ranks.is_main else "ignored"
    print(ranks.rank, sum_over_ranks([1.5, ranks.rank], ranks), agree(None, ranks),
          agree(mine, ranks), sep="|")
"""


def test_one_process_needs_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torchrun's variables there is one rank and every operation is the identity."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with process_group() as ranks:
        assert ranks == Ranks(rank=0, world_size=1, local_rank=0)
        assert ranks.is_main
        assert agree("budget", ranks) == "budget"
        assert agree(None, ranks) is None
        assert sum_over_ranks([1.0, 2.0], ranks) == [1.0, 2.0]


def test_a_world_of_one_is_one_process() -> None:
    """A torchrun world with a single process is the plain case."""
    assert ranks_from_environment({"WORLD_SIZE": "1", "RANK": "0"}) == Ranks()


def test_two_processes_agree_and_add_up() -> None:
    """Every rank sees the sums and rank 0's reason, whatever it had in mind itself."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO],
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]

    said = [process.communicate(timeout=120)[0].strip() for process in processes]

    told = "[3.0, 1.0]|None|budget: 0.10 USD, all of it spent (2 €)"
    assert said == [f"0|{told}", f"1|{told}"]
