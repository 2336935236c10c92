"""Finished runs of a tracking server, read page by page over its REST interface.

A report of thousands of runs needs no client library: the answers are plain JSON, and `import
mlflow` alone would take longer than reading them.
"""

import base64
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

PAGE = 10_000
"""Runs in a page. The server counts its way to each page from the start, so few large pages are
several times faster than many small ones; its limit is 50,000."""

TIMEOUT_SECONDS = 60.0


class HistoryError(OSError):
    """The tracking server did not answer, or refused; the message is one line."""


def finished_runs(
    tracking_uri: str,
    *,
    experiments: Sequence[str] | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    page: int = PAGE,
) -> Iterator[dict[str, Any]]:
    """Reads the runs that began from `start` to before `end`, oldest first.

    Args:
        tracking_uri: Address of the MLflow server.
        experiments: Names of experiments; all that are not deleted without.
        start: First instant, aware, or None for no bound.
        end: First instant after, aware, or None for no bound.
        page: Runs to ask for at a time.

    Yields:
        Plain mappings with run_id, experiment, status, start and end (milliseconds since 1970, end
        is None while it runs), tags, params and the last values of metrics.

    Raises:
        HistoryError: The server did not answer as it should.
        ValueError: An experiment does not exist.
    """
    server = _Server(tracking_uri)
    names = {e["experiment_id"]: e["name"] for e in server.pages("experiments", {}, page=page)}
    for name in experiments or ():
        if name not in names.values():
            raise ValueError(
                f"experiment is {name!r}, which {tracking_uri} does not have; "
                f"use one of {', '.join(sorted(names.values()))}"
            )
    wanted = [i for i, name in names.items() if not experiments or name in experiments]
    if not wanted:
        return
    bounds = [
        f"attributes.start_time {sign} {int(moment.timestamp() * 1000)}"
        for sign, moment in ((">=", start), ("<", end))
        if moment is not None
    ]
    question = {
        "experiment_ids": wanted,
        "filter": " and ".join(bounds),
        "order_by": ["attributes.start_time ASC"],
    }
    for run in server.pages("runs", question, page=page):
        yield _plain(run, names)


def _plain(run: Mapping[str, Any], experiments: Mapping[str, str]) -> dict[str, Any]:
    info, data = run["info"], run.get("data", {})
    return {
        "run_id": info["run_id"],
        "experiment": experiments[info["experiment_id"]],
        "status": info["status"],
        "start": int(info["start_time"]),
        "end": int(info["end_time"]) if info.get("end_time") else None,
        "tags": {tag["key"]: tag["value"] for tag in data.get("tags", ())},
        "params": {param["key"]: param["value"] for param in data.get("params", ())},
        "metrics": {metric["key"]: float(metric["value"]) for metric in data.get("metrics", ())},
    }


class _Server:
    """One kept connection to a tracking server."""

    def __init__(self, tracking_uri: str) -> None:
        parts = urlsplit(tracking_uri)
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            raise ValueError(
                f"MLFLOW_TRACKING_URI is {tracking_uri!r}; give an address such as "
                "http://127.0.0.1:5000"
            )
        self._uri = tracking_uri
        self._root = parts.path.rstrip("/") + "/api/2.0/mlflow"
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = kind(parts.netloc, timeout=TIMEOUT_SECONDS)

    def pages(self, kind: str, question: Mapping[str, Any], *, page: int) -> Iterator[Any]:
        """Asks for all pages of a search and yields what is on them."""
        token = ""
        while True:
            asked = {**question, "max_results": page, **({"page_token": token} if token else {})}
            answer = self._post(f"{self._root}/{kind}/search", asked)
            yield from answer.get(kind, ())
            token = answer.get("next_page_token", "")
            if not token:
                return

    def _post(self, path: str, content: Mapping[str, Any]) -> Any:
        headers = {"Content-Type": "application/json", **_authorization()}
        body = json.dumps(content)
        try:
            self._connection.request("POST", path, body=body, headers=headers)
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, HTTPException) as error:
            self._connection.close()
            raise HistoryError(
                f"MLflow at {self._uri} does not answer ({error}); start it or mend "
                "MLFLOW_TRACKING_URI"
            ) from error
        if response.status != 200:
            said = " ".join(text.decode("utf-8", "replace").split())[:200]
            raise HistoryError(f"MLflow at {self._uri} answers {response.status}: {said}")
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise HistoryError(f"{self._uri} answers no JSON; is it an MLflow server?") from error


def _authorization() -> dict[str, str]:
    """Signs in the way MLflow's own client does, by its environment variables."""
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    if token:
        return {"Authorization": f"Bearer {token}"}
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    if user:
        secret = os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
        encoded = base64.b64encode(f"{user}:{secret}".encode()).decode()
        return {"Authorization": f"Basic {encoded}"}
    return {}
