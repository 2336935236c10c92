"""MLflow's public REST interface, for what is written often or must not wait.

MLflow's own client takes its timeout and its retries from the environment of the whole process
(4 minutes at its defaults) and costs a second of import; here each caller chooses its patience.
Files and models go through MLflow's client: see `stores.registry` and `stores.run_files`.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any, Self

import urllib3

from stores.settings import Settings

_RETRIED = (429, 500, 502, 503, 504)


class TrackingUnavailable(ConnectionError):  # noqa: N818 - reads as the state it reports
    """MLflow does not answer, or not now; trying again later may help."""


class TrackingRefused(ValueError):  # noqa: N818 - as above
    """MLflow refused a request; the same request will be refused again.

    Args:
        message: one line.
        code: MLflow's error code, such as `RESOURCE_DOES_NOT_EXIST`.
    """

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class MlflowApi:
    """A client of one MLflow server with its own timeout and retries.

    Args:
        settings: where the server is.
        timeout_seconds: longest wait for one answer.
        retries: further tries after a failed one, with doubling pauses; 0 to fail at once.
    """

    def __init__(
        self, settings: Settings, *, timeout_seconds: float = 30.0, retries: int = 6
    ) -> None:
        self.uri = settings.tracking_uri()
        self._pool = urllib3.PoolManager(
            headers=_authorization(),
            timeout=urllib3.Timeout(timeout_seconds),
            retries=urllib3.Retry(
                retries,
                # 0 + 1 + 2 + 4 + 8 + 8 s: a restart of the server is waited for.
                backoff_factor=0.5,
                backoff_max=8,
                status_forcelist=_RETRIED,
                allowed_methods=None,
                raise_on_status=False,
            ),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the kept connections."""
        self._pool.clear()

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Asks for something under `/api/2.0/mlflow/`."""
        return self._send("GET", path, fields=query)

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """Sends something to `/api/2.0/mlflow/`; it must be safe to send twice.

        Raises:
            TrackingUnavailable: no answer within the patience of this client.
            TrackingRefused: an answer that says no.
        """
        return self._send("POST", path, json=body)

    def pages(self, path: str, key: str, **body: Any) -> Iterator[dict[str, Any]]:
        """Yields what is under `key` on all pages of a search."""
        token: dict[str, str] = {}
        while True:
            answer = self.post(path, **body, **token)
            yield from answer.get(key, ())
            if not answer.get("next_page_token"):
                return
            token = {"page_token": answer["next_page_token"]}

    def _send(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        address = f"{self.uri}/api/2.0/mlflow/{path}"
        try:
            response = self._pool.request(method, address, **content)
        except urllib3.exceptions.HTTPError as error:
            reason = getattr(error, "reason", None) or error
            raise TrackingUnavailable(
                f"MLflow at {self.uri} does not answer ({type(reason).__name__}): start it, or "
                "mend MLFLOW_TRACKING_URI"
            ) from error
        if response.status in _RETRIED:
            raise TrackingUnavailable(f"MLflow at {self.uri} answers {response.status} to {path}")
        try:
            answer = json.loads(response.data) if response.data else {}
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise TrackingRefused(
                f"MLFLOW_TRACKING_URI={self.uri} answers no JSON ({response.status}): "
                "is it an MLflow server?"
            )
        if response.status >= 400:
            said = " ".join(str(answer.get("message", response.status)).split())[:300]
            raise TrackingRefused(
                f"MLflow refuses {path}: {said}", code=str(answer.get("error_code", ""))
            )
        return answer


def metric_entry(key: str, value: float, *, timestamp_ms: int, step: int) -> dict[str, Any]:
    """Builds one metric of a `log-batch`; JSON knows no infinities, so they travel as text."""
    sent: float | str = float(value)
    if math.isnan(value):
        sent = "NaN"
    elif math.isinf(value):
        sent = "Infinity" if value > 0 else "-Infinity"
    return {"key": key, "value": sent, "timestamp": timestamp_ms, "step": step}


def entries(values: Mapping[str, object]) -> list[dict[str, str]]:
    """Builds the list of keys and values that MLflow wants for tags and parameters."""
    return [{"key": key, "value": str(value)} for key, value in values.items()]


def quoted(text: str) -> str:
    """Writes a text for a filter of a search, which knows no escapes.

    Raises:
        ValueError: the text holds both kinds of quotes.
    """
    for quote in "'\"":
        if quote not in text:
            return f"{quote}{text}{quote}"
    raise ValueError(f"{text!r} holds both kinds of quotes: MLflow cannot search for it")


def _authorization() -> dict[str, str]:
    """Signs in by the environment variables of MLflow's own client."""
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"authorization": f"Bearer {token}"}
    if user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        password = os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
        return urllib3.make_headers(basic_auth=f"{user}:{password}")
    return {}
