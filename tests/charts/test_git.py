"""Git on the cluster: task pods know the repository, and only publishing tasks get its login."""

import base64
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rendering import Object, Render, containers, find

from stores.model_version import PublishError, publish_version
from stores.settings import Settings
from tasks.publish import GIT_SECRETS, check_repository, make_repository

HTTPS = "https://git.example.org/team/agents.git"
SSH = "git@git.example.org:team/agents.git"
MOUNT = "/etc/flyte/secrets"
"""Where Flyte's webhook mounts the secrets that a task requests, as group/key."""


def environment(template: Render, repository: str) -> dict[str, str]:
    """What a task's pod has from the settings, with a repository set."""
    objects = template(sets=[f"git.repository={repository}"])
    (container,) = containers(find(objects, "PodTemplate")["template"])
    (source,) = container["envFrom"]
    data: dict[str, str] = find(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    return data


@pytest.mark.parametrize("repository", [HTTPS, SSH])
def test_a_task_pod_knows_the_repository(
    template: Render, monkeypatch: pytest.MonkeyPatch, repository: str
) -> None:
    """The gate of agents lets a run pass with the pod's environment, and refuses it without."""
    monkeypatch.setenv("FLYTE_INTERNAL_EXECUTION_ID", "abc")
    monkeypatch.delenv("OPPEN_GIT_REPOSITORY", raising=False)
    with pytest.raises(ValueError, match="OPPEN_GIT_REPOSITORY"):
        check_repository("")
    for name, value in environment(template, repository).items():
        monkeypatch.setenv(name, value)
    check_repository("")
    assert Settings.from_environment().git_repository == repository


def test_without_a_repository_nothing_of_git_is_set(template: Render) -> None:
    """The default leaves git alone, so the gate says what is missing."""
    assert not [name for name in environment(template, "") if "GIT" in name]


def test_the_login_is_no_part_of_the_pod_template(template: Render) -> None:
    """Flyte mounts the files for the tasks that publish; other pods know paths and no more."""
    for repository in (HTTPS, SSH):
        objects = template(sets=[f"git.repository={repository}"])
        spec = find(objects, "PodTemplate")["template"]["spec"]
        assert "oppen-git" not in str(spec)
        told = " ".join(environment(template, repository).values())
        groups = {secret.group for secret in GIT_SECRETS}
        assert {f"{MOUNT}/{group}/" in told for group in groups} == {True}
    keys = {secret.key for secret in GIT_SECRETS}
    assert keys == {"username", "password", "ssh-privatekey", "known_hosts"}


def ports(objects: list[Object]) -> list[int]:
    """Ports of the internet that tasks may reach."""
    rules = find(objects, "NetworkPolicy", "oppen-tasks")["spec"]["egress"]
    (rule,) = [rule for rule in rules if any("ipBlock" in peer for peer in rule["to"])]
    return [one["port"] for one in rule["ports"]]


@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        ("", [443]),
        (HTTPS, [443]),
        ("https://git.example.org:8443/agents.git", [443, 8443]),
        (SSH, [443, 22]),
        ("ssh://git@git.example.org/agents.git", [443, 22]),
        ("ssh://git@git.example.org:2222/agents.git", [443, 2222]),
    ],
)
def test_tasks_reach_the_port_of_the_repository(
    template: Render, repository: str, expected: list[int]
) -> None:
    """The policy opens the port that the address names, or the usual one of its protocol."""
    assert ports(template(sets=[f"git.repository={repository}"])) == expected


@dataclass
class Server:
    """A real git over HTTP that asks for a login."""

    address: str
    repository: Path
    seen: list[str] = field(default_factory=list)
    """Authorization headers, as they came."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A git http-backend behind basic authentication, with one empty repository."""
    repository = tmp_path / "served" / "agents.git"
    repository.parent.mkdir()
    make_repository(repository)
    subprocess.run(["git", "-C", str(repository), "config", "http.receivepack", "true"], check=True)
    login = base64.b64encode(b"oppen:made-up").decode()
    backend = Path(
        subprocess.run(
            ["git", "--exec-path"], capture_output=True, text=True, check=True
        ).stdout.strip(),
        "git-http-backend",
    )

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            """Runs the backend as a web server would, for those who may."""
            given = self.headers.get("Authorization", "")
            served.seen.append(given)
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            if given != f"Basic {login}":
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            path, _, query = self.path.partition("?")
            done = subprocess.run(
                [backend],
                input=body,
                capture_output=True,
                check=True,
                env={
                    "PATH": os.environ["PATH"],
                    "GIT_PROJECT_ROOT": str(repository.parent),
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "PATH_INFO": path,
                    "QUERY_STRING": query,
                    "REQUEST_METHOD": self.command,
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                    "CONTENT_LENGTH": str(len(body)),
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                    "REMOTE_USER": "oppen",
                },
            )
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer  # noqa: N815 - names of http.server

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        host = f"http://127.0.0.1:{listening.server_port}"
        served = Server(address=f"{host}/agents.git", repository=repository)
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield served
        listening.shutdown()


def mounted(tmp_path: Path, **files: str) -> Path:
    """The folder that Flyte would mount, with some of its files."""
    for name, content in files.items():
        path = tmp_path / "secrets" / "oppen-git" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return tmp_path / "secrets"


def use(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], server: Server, mount: Path
) -> None:
    """Sets the rendered variables, for the address of the test's server and its folder."""
    host = server.address.rpartition("/")[0]
    for name, value in settings.items():
        here = value.replace("https://git.example.org", host).replace(MOUNT, str(mount))
        monkeypatch.setenv(name, here)
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)


def publish(address: str) -> str:
    """Publishes a version; returns its commit."""
    return publish_version(
        address,
        path="agents/agent-x/MODEL_VERSION",
        version="v20261121-01234567",
        model="agent-x-functiongemma-20261121-01234567",
        metrics={},
        artifact="s3://oppen/agent-x/1",
    ).commit


def test_git_logs_in_with_the_mounted_files(
    template: Render, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the pod's variables and the Secret's two files a version reaches a real server."""
    mount = mounted(tmp_path, username="oppen", password="made-up")
    use(monkeypatch, environment(template, HTTPS), server, mount)
    commit = publish(server.address)
    tip = (server.repository / "refs" / "heads" / "main").read_text().strip()
    assert tip == commit


def test_a_missing_or_wrong_login_is_one_line(
    template: Render, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git refuses without asking a terminal, and nothing of the login is told."""
    use(monkeypatch, environment(template, HTTPS), server, tmp_path / "none")
    with pytest.raises(PublishError, match=r"^git clone of http://127.0.0.1:\d+/agents.git failed"):
        publish(server.address)
    mount = mounted(tmp_path, username="oppen", password="not-this-one")
    use(monkeypatch, environment(template, HTTPS), server, mount)
    with pytest.raises(PublishError, match="Authentication failed") as refused:
        publish(server.address)
    assert "not-this-one" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_login_is_sent_to_its_own_host_only(
    template: Render, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that names a repository elsewhere does not hand it the login."""
    mount = mounted(tmp_path, username="oppen", password="made-up")
    use(monkeypatch, environment(template, HTTPS), server, mount)
    monkeypatch.setenv("GIT_CONFIG_KEY_0", environment(template, HTTPS)["GIT_CONFIG_KEY_0"])
    with pytest.raises(PublishError):
        publish(server.address)
    assert set(server.seen) == {""}


@pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh here")
def test_ssh_takes_key_and_known_hosts_from_the_secret(template: Render, tmp_path: Path) -> None:
    """The real ssh reads the command as meant: that key alone, known hosts only, no questions."""
    keys = [secret.key for secret in GIT_SECRETS if "_" in secret.key or "-" in secret.key]
    mount = str(mounted(tmp_path, **dict.fromkeys(keys, "made-up")))
    command = environment(template, SSH)["GIT_SSH_COMMAND"].replace(MOUNT, mount)
    done = subprocess.run(
        ["sh", "-c", f"{command} -G git.example.org"], capture_output=True, text=True, check=True
    )
    options = [line.partition(" ")[::2] for line in done.stdout.splitlines()]
    assert [value for name, value in options if name == "identityfile"] == [
        f"{mount}/oppen-git/ssh-privatekey"
    ]
    assert ("userknownhostsfile", f"{mount}/oppen-git/known_hosts") in options
    assert {("stricthostkeychecking", "true"), ("stricthostkeychecking", "yes")} & set(options)
    assert {("identitiesonly", "yes"), ("batchmode", "yes")} <= set(options)
