"""Hub failures, against a real HTTP server that plays the hub."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from training.hub import HubError
from training.language_model import load_language_model
from training.tokenizer import load_tokenizer

LOAD_THREE = """
from training.corpus import SourceConfig, read_corpus
from training.language_model import load_language_model
from training.tokenizer import load_tokenizer

for load in (
    lambda: load_language_model("owner/gated"),
    lambda: load_tokenizer("owner/absent"),
    lambda: read_corpus(SourceConfig(source="wikitext-2")),
):
    try:
        load()
    except ValueError as error:
        print(type(error).__name__, error)
"""


@pytest.fixture
def hub() -> Iterator[str]:
    """Answers as the hub does: 403 for a gated repository, 401 for an unknown one."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            gated = "gated" in self.path
            self.send_response(200 if self.path == "/" else 403 if gated else 401)
            self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
            self.send_header("X-Error-Message", "Access is restricted." if gated else "Not found.")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD  # noqa: N815 - the server's name

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def _messages(endpoint: str, cache: Path) -> list[str]:
    """Loads a gated model, an absent tokenizer and a data set from `endpoint`."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environ |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache)}
    run = subprocess.run(
        [sys.executable, "-c", LOAD_THREE], env=environ, capture_output=True, text=True, check=True
    )
    return [line for line in run.stdout.splitlines() if line.startswith("HubError")]


def test_gated_and_unknown_repositories_are_told_apart(hub: str, tmp_path: Path) -> None:
    """A gated model asks for HF_TOKEN; an unknown tokenizer asks to check the name."""
    gated, absent, data = _messages(hub, tmp_path)
    assert "'owner/gated' cannot be loaded: it is gated" in gated
    assert "HF_TOKEN" in gated
    assert "'owner/absent' cannot be loaded: the hub has no such repository" in absent
    assert "data set 'Salesforce/wikitext:wikitext-2-raw-v1'" in data


def test_unreachable_hub_is_named_at_once(tmp_path: Path) -> None:
    """Nothing is retried for a minute when no hub answers."""
    for message in _messages("http://127.0.0.1:1", tmp_path):
        assert "out of reach" in message


def test_folder_without_weights_is_refused(tmp_path: Path) -> None:
    """A folder that lacks files is not looked up on the hub."""
    with pytest.raises(HubError, match="the folder is not complete"):
        load_language_model(tmp_path)
    with pytest.raises(HubError, match=r"tokenizer .* the folder is not complete"):
        load_tokenizer(tmp_path)
