"""The hub's commits and failures, against a real HTTP server that plays the hub."""

import json
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


ASK_REVISIONS = """
import sys
from training.agent_base import base_revision

for name in sys.argv[1:]:
    try:
        print("revision", base_revision(name))
    except ValueError as error:
        print(type(error).__name__, error)
"""
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub() -> Iterator[str]:
    """Answers as the hub does: 403 for a gated repository, 401 for an unknown one.

    Of `owner/open` it tells the commit, and gives no file; of `owner/mirror` not even that.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            gated = "gated" in self.path
            self.send_response(200 if self.path == "/" else 403 if gated else 401)
            self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
            self.send_header("X-Error-Message", "Access is restricted." if gated else "Not found.")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            known = {
                "/api/models/owner/open": {"id": "owner/open", "sha": COMMIT},
                "/api/models/owner/mirror": {"id": "owner/mirror"},
            }
            if self.path not in known:
                self.do_HEAD()
                return
            body = json.dumps(known[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def _lines(endpoint: str, cache: Path, script: str, *arguments: str) -> list[str]:
    """Runs a script whose hub is `endpoint` and whose cache is `cache`."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environ |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache)}
    run = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.splitlines()


def _messages(endpoint: str, cache: Path) -> list[str]:
    """Loads a gated model, an absent tokenizer and a data set from `endpoint`."""
    return [line for line in _lines(endpoint, cache, LOAD_THREE) if line.startswith("HubError")]


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


def test_a_base_model_of_the_hub_is_known_by_its_commit_alone(hub: str, tmp_path: Path) -> None:
    """No file is fetched to learn it; an unknown name is refused, and one without a commit."""
    names = ("owner/open", "owner/absent", "owner/mirror")
    open_model, absent, mirror = _lines(hub, tmp_path, ASK_REVISIONS, *names)
    assert mirror.startswith("HubError the hub names no commit of model 'owner/mirror'; give")
    assert open_model == f"revision {COMMIT}"
    assert absent.startswith("HubError model 'owner/absent' cannot be loaded: the hub has no such")


def test_a_base_model_is_known_by_the_cache_where_the_hub_is_away(tmp_path: Path) -> None:
    """The commit that was fetched last; a model that never was is out of reach."""
    cached = tmp_path / "hub" / "models--owner--open"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(COMMIT)
    (cached / "snapshots" / COMMIT).mkdir(parents=True)
    away = "http://127.0.0.1:1"
    known, unknown = _lines(away, tmp_path, ASK_REVISIONS, "owner/open", "owner/other")
    assert known == f"revision {COMMIT}"
    assert "model 'owner/other' cannot be loaded: the hub is out of reach" in unknown


def test_folder_without_weights_is_refused(tmp_path: Path) -> None:
    """A folder that lacks files is not looked up on the hub."""
    with pytest.raises(HubError, match="the folder is not complete"):
        load_language_model(tmp_path)
    with pytest.raises(HubError, match=r"tokenizer .* the folder is not complete"):
        load_tokenizer(tmp_path)
