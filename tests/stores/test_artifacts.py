"""Versions in S3, against a real server: complete or invisible, verified, repaired."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
from minio import Minio

from operations.servers import Servers
from stores import artifacts
from stores.artifacts import (
    MANIFEST,
    CorruptVersion,
    StoreRefused,
    StoreUnavailable,
    fetch_prefix,
    fetch_version,
    list_versions,
    store_version,
    verify_version,
)
from stores.objects import Objects
from stores.settings import Settings


@pytest.fixture
def store(s3_server: Servers) -> Settings:
    """Settings of S3 alone."""
    return s3_server.settings


@pytest.fixture
def model() -> str:
    """A name that no other test uses."""
    return f"m-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small package: a file in the root, one below, one empty."""
    (tmp_path / "package" / "model").mkdir(parents=True)
    (tmp_path / "package" / "model" / "weights.bin").write_bytes(
        random.Random(1).randbytes(300_000)
    )
    (tmp_path / "package" / "metrics.json").write_text('{"accuracy": 0.98}')
    (tmp_path / "package" / "empty").touch()
    return tmp_path / "package"


def client(settings: Settings) -> Minio:
    """Returns an S3 client that the code under test knows nothing of."""
    store = settings.object_store()
    return Minio(
        store.host,
        access_key=store.access_key_id,
        secret_key=store.secret_access_key,
        secure=False,
        region=store.region,
    )


def put(settings: Settings, name: str, content: bytes) -> None:
    """Writes an object behind the back of the code under test."""
    client(settings).put_object("oppen", name, io.BytesIO(content), len(content))


def names(settings: Settings, prefix: str) -> set[str]:
    """Lists what lies under a prefix, without the prefix."""
    found = client(settings).list_objects("oppen", f"{prefix}/", recursive=True)
    return {str(each.object_name).removeprefix(f"{prefix}/") for each in found}


def test_a_version_goes_up_and_comes_back(
    store: Settings, model: str, folder: Path, tmp_path: Path
) -> None:
    """All files arrive with a manifest, verify, and come back byte for byte."""
    stored = store_version(store, f"{model}/1", folder)
    fetched = fetch_version(store, stored.uri, tmp_path / "back")

    assert stored.uri == f"s3://oppen/{model}/1"
    assert (stored.num_files, stored.num_bytes, stored.num_uploaded) == (3, 300_018, 3)
    assert names(store, f"{model}/1") == {"empty", "metrics.json", "model/weights.bin", MANIFEST}
    assert artifacts.describe(tmp_path / "back") == artifacts.describe(folder)
    assert verify_version(store, stored.uri) == fetched
    assert fetched.manifest_sha256 == stored.manifest_sha256
    assert list_versions(store, model) == ["1"]


def test_a_second_call_changes_nothing(store: Settings, model: str, folder: Path) -> None:
    """Nothing is written again: not one object gets a new time."""

    def times() -> dict[str, object]:
        found = client(store).list_objects("oppen", f"{model}/", recursive=True)
        return {str(each.object_name): each.last_modified for each in found}

    first = store_version(store, f"{model}/1", folder)
    before = times()
    time.sleep(1.1)  # S3 keeps whole seconds
    second = store_version(store, f"{model}/1", folder)

    assert times() == before
    assert second.num_uploaded == 0
    assert second.manifest_sha256 == first.manifest_sha256


@pytest.mark.parametrize("damage", ["flipped", "short", "missing", "manifest", "stray"])
def test_damage_is_found_and_repaired(
    store: Settings, model: str, folder: Path, damage: str
) -> None:
    """Whatever is wrong with a version, storing it again mends that and no more."""
    prefix = f"{model}/1"
    whole = store_version(store, prefix, folder)
    content = (folder / "model" / "weights.bin").read_bytes()
    if damage == "flipped":
        put(store, f"{prefix}/model/weights.bin", content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "short":
        put(store, f"{prefix}/model/weights.bin", content[:-1])
    elif damage == "missing":
        client(store).remove_object("oppen", f"{prefix}/model/weights.bin")
    elif damage == "manifest":
        put(store, f"{prefix}/{MANIFEST}", b"{}")
    else:
        put(store, f"{prefix}/left-over", b"x")
    if damage != "stray":
        with pytest.raises(CorruptVersion, match=MANIFEST if damage == "manifest" else "weights"):
            verify_version(store, prefix)

    repaired = store_version(store, prefix, folder)

    assert repaired.num_uploaded == (1 if damage in {"flipped", "short", "missing"} else 0)
    assert verify_version(store, prefix).manifest_sha256 == whole.manifest_sha256
    assert "left-over" not in names(store, prefix)


def test_a_corrupt_version_is_not_delivered(
    store: Settings, model: str, folder: Path, tmp_path: Path
) -> None:
    """A download whose hash differs leaves no folder behind."""
    store_version(store, f"{model}/1", folder)
    put(store, f"{model}/1/metrics.json", b'{"accuracy": 0.99}')

    with pytest.raises(CorruptVersion, match=r"metrics.json is missing or differs"):
        fetch_version(store, f"{model}/1", tmp_path / "back")

    assert not list(tmp_path.glob("*back*"))


def test_other_content_replaces_a_version(store: Settings, model: str, folder: Path) -> None:
    """A changed file is uploaded, a dropped one removed, and the manifest tells the new state."""
    store_version(store, f"{model}/1", folder)
    (folder / "metrics.json").write_text("{}")
    (folder / "empty").unlink()

    stored = store_version(store, f"{model}/1", folder)

    assert stored.num_uploaded == 1
    assert names(store, f"{model}/1") == {"metrics.json", "model/weights.bin", MANIFEST}
    verify_version(store, f"{model}/1")


KILLED = """
import os, signal, sys
from pathlib import Path
from stores import objects
from stores.artifacts import store_version
from stores.settings import Settings

writes = 0
def killed_before(method):
    def call(*arguments, **named):
        global writes
        if writes == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        writes += 1
        return method(*arguments, **named)
    return call

for name in ("upload", "write", "remove"):
    setattr(objects.Objects, name, killed_before(getattr(objects.Objects, name)))
store_version(Settings.from_environment(), sys.argv[1], Path(sys.argv[2]))
"""


def test_a_kill_before_any_write_leaves_no_manifest_over_incomplete_data(
    store: Settings, model: str, folder: Path
) -> None:
    """Killed with -9 before each write in turn, then run again: always invisible, then whole."""
    for write in range(6):  # the manifest's removal, three files, the manifest; then none is left
        prefix = f"{model}/{write}"
        done = subprocess.run(
            [sys.executable, "-c", KILLED, prefix, str(folder), str(write)],
            env=os.environ | store.to_environment(),
            check=False,
        )
        is_killed = done.returncode == -signal.SIGKILL
        assert is_killed == (write < 5)
        assert (MANIFEST in names(store, prefix)) != is_killed
        if is_killed:
            with pytest.raises(CorruptVersion, match="its upload did not end"):
                verify_version(store, prefix)
        assert store_version(store, prefix, folder).num_uploaded == max(0, 4 - max(1, write))
        verify_version(store, prefix)


def test_a_kill_while_a_version_is_replaced_hides_it(
    store: Settings, model: str, folder: Path
) -> None:
    """Replacing begins with the removal of the manifest, so that a kill cannot mix two states."""
    prefix = f"{model}/1"
    store_version(store, prefix, folder)
    (folder / "model" / "weights.bin").write_bytes(b"new")
    command = [sys.executable, "-c", KILLED, prefix, str(folder), "1"]
    subprocess.run(command, env=os.environ | store.to_environment(), check=False)

    assert MANIFEST not in names(store, prefix)


def test_an_upload_outlives_a_restart_of_the_server(
    s3_server: Servers, model: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 is stopped before the second file and comes back: the upload goes on by itself."""
    real, uploads = Objects.upload, 0
    restart = threading.Thread(target=s3_server.start, args=("s3",))

    def stopping(self: Objects, name: str, path: Path) -> None:
        nonlocal uploads
        uploads += 1
        if uploads == 2:
            s3_server.stop("s3")
            restart.start()
        real(self, name, path)

    monkeypatch.setattr(Objects, "upload", stopping)
    try:
        stored = store_version(s3_server.settings, f"{model}/1", folder)
    finally:
        restart.join()

    assert stored.num_uploaded == 3
    verify_version(s3_server.settings, f"{model}/1")


def test_a_large_file_goes_up_in_parts(
    store: Settings, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of more than one part is whole after it, and its tag says that it had parts."""
    monkeypatch.setattr("stores.objects._PART_BYTES", 5 << 20)
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "weights").write_bytes(random.Random(2).randbytes(11 << 20))

    store_version(store, f"{model}/1", tmp_path / "big")

    etag = client(store).stat_object("oppen", f"{model}/1/weights").etag
    assert etag is not None
    assert etag.endswith("-3")
    verify_version(store, f"{model}/1")


def test_wrong_keys_are_refused_without_showing_them(
    store: Settings, model: str, folder: Path
) -> None:
    """The error names the variables, not their values."""
    wrong = Settings(
        s3_endpoint=store.s3_endpoint,
        aws_access_key_id="AKIAWRONG",
        aws_secret_access_key="hidden-secret",
    )
    with pytest.raises(StoreRefused, match="AWS_ACCESS_KEY_ID") as refused:
        store_version(wrong, f"{model}/1", folder)
    assert "AKIAWRONG" not in str(refused.value)
    assert "hidden-secret" not in str(refused.value)


def test_a_server_that_is_away_is_named(
    store: Settings, model: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its patience the upload says which server does not answer, in one line."""
    monkeypatch.setattr("urllib3.Retry.sleep", lambda *_: None)
    away = Settings.from_environment(
        store.to_environment() | {"OPPEN_S3_ENDPOINT": "http://127.0.0.1:9"}
    )
    with pytest.raises(StoreUnavailable, match=r"S3 at 127.0.0.1:9 does not answer") as refused:
        store_version(away, f"{model}/1", folder)
    assert isinstance(refused.value, ConnectionError)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("prefix", ["", "/", "a//b", "../x", "a/./b"])
def test_a_malformed_prefix_is_refused(store: Settings, folder: Path, prefix: str) -> None:
    """A prefix that could leave its place is refused before anything is read."""
    with pytest.raises(ValueError, match="write it like model/version"):
        store_version(store, prefix, folder)


def test_a_folder_that_cannot_be_a_version_is_refused(store: Settings, tmp_path: Path) -> None:
    """An empty folder, and one with a file in the manifest's place."""
    with pytest.raises(ValueError, match="holds no files"):
        store_version(store, "m/1", tmp_path)
    (tmp_path / MANIFEST).touch()
    with pytest.raises(ValueError, match="that name is taken"):
        store_version(store, "m/1", tmp_path)


def test_a_manifest_cannot_write_outside_the_folder(
    store: Settings, model: str, tmp_path: Path
) -> None:
    """A path with `..` in a foreign manifest is refused."""
    evil = {"format": 1, "files": [{"path": "../evil", "size": 1, "sha256": "x"}]}
    put(store, f"{model}/1/{MANIFEST}", json.dumps(evil).encode())
    with pytest.raises(CorruptVersion, match="would leave the folder"):
        fetch_version(store, f"{model}/1", tmp_path / "back")


def test_a_prefix_of_plain_objects_is_fetched(store: Settings, model: str, tmp_path: Path) -> None:
    """Data without a manifest comes down too; an empty prefix is an error."""
    put(store, f"{model}/data/a/train", b"1")
    put(store, f"{model}/data/test", b"2")
    assert fetch_prefix(store, f"s3://oppen/{model}/data", tmp_path / "data") == 2
    assert (tmp_path / "data" / "a" / "train").read_bytes() == b"1"
    with pytest.raises(ValueError, match="holds nothing"):
        fetch_prefix(store, f"s3://oppen/{model}/none", tmp_path / "none")
