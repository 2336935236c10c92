# ruff: noqa: INP001 - mounted into a pod as a single file
"""Serves metrics of runs, costs and champions, read from MLflow, to Prometheus.

MLflow is read every few minutes by one thread; a scrape answers from the last reading and never
waits for it. Values are gauges over a stated window, since runs are counted anew at each reading.
"""

import argparse
import math
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DAY_SECONDS = 86400
PAGE = 1000
TYPES = {
    "oppen_runs": "Runs that started within the window, by experiment and status.",
    "oppen_run_duration_seconds": "Duration of finished runs of the window, by quantile.",
    "oppen_cost": "Total cost of the runs that started within the window, in the card's currency.",
    "oppen_model_quality": "Metrics of the run behind a model's champion.",
    "oppen_exporter_last_success_timestamp_seconds": "When MLflow was last read without an error.",
    "oppen_mlflow_up": "Whether the last reading of MLflow succeeded.",
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """What the metrics need of one MLflow run."""

    experiment: str
    status: str
    started: float
    """Seconds since the epoch."""

    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One line of the exposition format."""

    name: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()

    def line(self) -> str:
        """Renders the sample with its labels escaped."""
        inner = ",".join(f'{key}="{escape(value)}"' for key, value in self.labels)
        return f"{self.name}{{{inner}}} {self.value!r}" if inner else f"{self.name} {self.value!r}"


def escape(value: str) -> str:
    """Escapes a label's value as the exposition format asks."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def quantile(values: list[float], share: float) -> float:
    """Nearest-rank quantile of a non-empty list.

    >>> quantile([3.0, 1.0, 2.0], 0.95)
    3.0
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summarise(runs: Iterable[Run], *, now: float, windows: dict[str, float]) -> Iterator[Sample]:
    """Counts, durations and costs of runs, by window and experiment."""
    known = list(runs)
    for window, seconds in windows.items():
        counts: dict[tuple[str, str], int] = defaultdict(int)
        durations: dict[str, list[float]] = defaultdict(list)
        costs: dict[str, float] = defaultdict(float)
        for run in known:
            if now - run.started > seconds:
                continue
            counts[run.experiment, run.status] += 1
            costs[run.experiment] += run.metrics.get("total_cost_usd", 0.0)
            if "duration_seconds" in run.metrics and run.status == "FINISHED":
                durations[run.experiment].append(run.metrics["duration_seconds"])
        for (experiment, status), count in sorted(counts.items()):
            labels = (("experiment", experiment), ("status", status), ("window", window))
            yield Sample(name="oppen_runs", value=float(count), labels=labels)
        for experiment, values in sorted(durations.items()):
            for share in (0.5, 0.95):
                yield Sample(
                    name="oppen_run_duration_seconds",
                    value=quantile(values, share),
                    labels=(
                        ("experiment", experiment),
                        ("quantile", str(share)),
                        ("window", window),
                    ),
                )
        for experiment, total in sorted(costs.items()):
            yield Sample(
                name="oppen_cost",
                value=total,
                labels=(("experiment", experiment), ("window", window)),
            )


def read_runs(client: Any, *, since: float) -> Iterator[Run]:
    """All runs of all experiments that started after `since` (seconds), page by page."""
    names = {e.experiment_id: e.name for e in client.search_experiments()}
    token = None
    while names:
        page = client.search_runs(
            list(names),
            filter_string=f"attributes.start_time >= {int(since * 1000)}",
            max_results=PAGE,
            page_token=token,
        )
        for run in page:
            yield Run(
                experiment=names[run.info.experiment_id],
                status=run.info.status,
                started=run.info.start_time / 1000,
                metrics=dict(run.data.metrics),
            )
        token = page.token
        if not token:
            return


def read_champions(client: Any, *, wanted: list[str]) -> Iterator[Sample]:
    """The wanted metrics of the run behind each model's alias `champion`."""
    for model in client.search_registered_models():
        if "champion" not in (model.aliases or {}):
            continue
        version = client.get_model_version_by_alias(model.name, "champion")
        if not version.run_id:
            continue
        metrics = client.get_run(version.run_id).data.metrics
        for name in wanted:
            if name in metrics:
                labels = (
                    ("metric", name),
                    ("model", model.name),
                    ("version", str(version.version)),
                )
                yield Sample(name="oppen_model_quality", value=metrics[name], labels=labels)


def render(samples: Iterable[Sample]) -> str:
    """The exposition format, one block for each metric."""
    blocks: dict[str, list[str]] = defaultdict(list)
    for sample in samples:
        blocks[sample.name].append(sample.line())
    lines = []
    for name, text in TYPES.items():
        if name in blocks:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge", *blocks[name]]
    return "\n".join(lines) + "\n"


class Exporter:
    """Holds the last reading."""

    def __init__(self, client: Any, *, window_days: int, quality: list[str]) -> None:
        self._client = client
        self._quality = quality
        self._windows = {"1d": 1.0, "7d": 7.0, f"{window_days}d": float(window_days)}
        self._samples: list[Sample] = []
        self._last_success = 0.0
        self._up = False

    def read(self, now: float) -> None:
        """Reads MLflow once; a failure keeps the last samples and shows `oppen_mlflow_up 0`."""
        seconds = {name: days * DAY_SECONDS for name, days in self._windows.items()}
        try:
            runs = list(read_runs(self._client, since=now - max(seconds.values())))
            champions = list(read_champions(self._client, wanted=self._quality))
        except Exception as error:  # noqa: BLE001 - whatever MLflow or the network raises is one fact
            print(f"MLflow could not be read: {error}", file=sys.stderr, flush=True)
            self._up = False
            return
        self._samples = [*summarise(runs, now=now, windows=seconds), *champions]
        self._last_success = now
        self._up = True

    def text(self) -> str:
        """The page that Prometheus scrapes."""
        state = [
            Sample(name="oppen_mlflow_up", value=float(self._up)),
            Sample(name="oppen_exporter_last_success_timestamp_seconds", value=self._last_success),
        ]
        return render([*self._samples, *state])


def serve(exporter: Exporter, port: int) -> ThreadingHTTPServer:
    """A server of /metrics and /healthz; the caller runs it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            pages = {"/metrics": exporter.text(), "/healthz": "ok\n"}
            page = pages.get(self.path)
            self.send_response(HTTPStatus.OK if page else HTTPStatus.NOT_FOUND)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.end_headers()
            self.wfile.write((page or "not found\n").encode())

        def log_message(self, *_: object) -> None:
            """Scrapes are not worth a line each."""

    return ThreadingHTTPServer(("0.0.0.0", port), Handler)  # noqa: S104 - a pod's own address


def main(arguments: list[str]) -> int:
    """Reads and serves until the pod ends."""
    from mlflow import MlflowClient

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9464)
    parser.add_argument("--interval-seconds", type=float, default=300)
    parser.add_argument("--window-days", type=int, default=30)
    parser.add_argument("--quality", action="append", default=[])
    options = parser.parse_args(arguments)
    exporter = Exporter(
        MlflowClient(os.environ["MLFLOW_TRACKING_URI"]),
        window_days=options.window_days,
        quality=options.quality,
    )
    server = serve(exporter, options.port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while True:
        exporter.read(time.time())
        time.sleep(options.interval_seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
