"""A connection to Flyte's control plane: one project and domain, and errors in one line."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from operations.exits import Exit, RemoteError, Unreachable

if TYPE_CHECKING:
    from flytekit.configuration import PlatformConfig
    from flytekit.remote import FlyteRemote

CALL_SECONDS = 20
"""How long one call may take before the command gives up."""

DEFAULT_PROJECT, DEFAULT_DOMAIN = "oppen", "development"
_NO_BROWSER = "oppen-no-browser"


@dataclass(frozen=True, kw_only=True)
class Flyte:
    """FlyteRemote with the project and domain that every call means."""

    remote: "FlyteRemote"
    """The connection; it calls out when first used."""

    project: str
    """The project that entities are looked up and executed in."""

    domain: str
    """Its domain, such as development or production."""

    config_path: str
    """Where the endpoint came from, for messages."""

    @property
    def admin(self) -> Any:
        """Flyte's admin calls with flyteidl messages, over the login and retries of `remote`.

        The models that flytekit's own client answers with drop fields, such as whether a pod was
        interruptible.
        """
        from flytekit.clients.friendly import SynchronousFlyteClient

        return super(SynchronousFlyteClient, self.remote.client)

    def list_named_entities(self, request: Any) -> Any:
        """Lists names with their states, a call that flytekit's client does not have."""
        from flyteidl.service.admin_pb2_grpc import AdminServiceStub

        return AdminServiceStub(self.remote.client._channel).ListNamedEntities(request)  # noqa: SLF001 - its login

    @property
    def endpoint(self) -> str:
        """Host and port of the control plane."""
        return str(self.remote.config.platform.endpoint)

    @contextmanager
    def calls(self) -> Iterator[None]:
        """Bounds the calls inside by `CALL_SECONDS` each and turns their failures to RemoteError.

        `FlyteEntityNotExistException` passes through: only the caller knows what was missing.
        """
        from flytekit.clients.auth.exceptions import AuthenticationError
        from flytekit.clients.grpc_utils.deadline_interceptor import scoped_grpc_deadline
        from flytekit.exceptions.base import FlyteException
        from flytekit.exceptions.user import FlyteEntityNotExistException
        from requests import RequestException

        try:
            with scoped_grpc_deadline(CALL_SECONDS):
                yield
        except FlyteEntityNotExistException:
            raise
        except (FlyteException, AuthenticationError, RequestException) as error:
            raise self._plain(error) from error

    def _plain(self, error: BaseException) -> RemoteError:
        import grpc
        from flytekit.clients.auth.exceptions import AuthenticationError
        from requests import RequestException

        for cause in _causes(error):
            if isinstance(cause, AuthenticationError):
                return self._login(str(cause))
            if isinstance(cause, RequestException):
                return self._login(f"its token endpoint did not answer: {cause}")
            if isinstance(cause, ValueError) and "Client SECRET" in str(cause):
                return self._login("admin.clientId or the secret is empty")
            if isinstance(cause, grpc.RpcError):
                return self._status(cause)
        return RemoteError(f"Flyte at {self.endpoint}: {_first_line(str(error))}")

    def _login(self, why: str) -> RemoteError:
        return RemoteError(
            f"login refused by Flyte at {self.endpoint} ({_first_line(why)}): check "
            "admin.authType, admin.clientId and the variable that admin.clientSecretEnvVar names "
            f"in {self.config_path}"
        )

    def _status(self, error: Any) -> RemoteError:
        import grpc

        code, details = error.code(), _first_line(error.details() or "")
        if code == grpc.StatusCode.UNAUTHENTICATED:
            return self._login(details)
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return Unreachable(
                f"cannot reach Flyte at {self.endpoint} ({details}): check admin.endpoint and "
                f"admin.insecure in {self.config_path}"
            )
        if code == grpc.StatusCode.PERMISSION_DENIED:
            return RemoteError(
                f"this login may not do that in {self.project}/{self.domain} at {self.endpoint} "
                f"({details}): ask for the role, or pass another --project"
            )
        if code == grpc.StatusCode.INVALID_ARGUMENT:
            return RemoteError(f"Flyte refused the request: {details}", code=Exit.USAGE)
        return RemoteError(f"Flyte at {self.endpoint} answered {code.name}: {details}")

    def check_place(self) -> None:
        """Raises RemoteError when the project or the domain does not exist; lists what does."""
        with self.calls():
            projects = {p.id for p in self.remote.list_projects()}
            domains = {d.id for d in self.remote.get_domains()}
        for field, value, known in (
            ("project", self.project, projects),
            ("domain", self.domain, domains),
        ):
            if value not in known:
                raise RemoteError(
                    f"{field} {value!r} does not exist at {self.endpoint}; there are: "
                    f"{', '.join(sorted(known))}; pass --{field}"
                )


def connect(*, config: Path | None, project: str | None, domain: str | None) -> Flyte:
    """Prepares a connection; nothing is called yet.

    Args:
        config: a Flyte configuration file; None takes what `pyflyte` takes: `FLYTECTL_CONFIG`,
            `~/.flyte/config.yaml`, or `FLYTE_PLATFORM_URL`.
        project: None takes `FLYTE_DEFAULT_PROJECT`, else `task.project` of the file, else oppen.
        domain: as `project`; the last resort is development.

    Raises:
        RemoteError: No endpoint is configured, or the file does not exist.
    """
    # gRPC reads it when it is imported; its connection log would come between our lines.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from flytekit.configuration import Config, TaskConfig
    from flytekit.configuration.file import get_config_file
    from flytekit.remote import FlyteRemote

    if config is not None and not config.is_file():
        raise RemoteError(f"--config {config} is not a file", code=Exit.USAGE)
    file = get_config_file(str(config) if config else None)
    if file is None and not os.environ.get("FLYTE_PLATFORM_URL"):
        raise RemoteError(
            "no Flyte endpoint: copy operations/flyte-config.template.yaml to "
            "~/.flyte/config.yaml, pass --config, or set FLYTE_PLATFORM_URL"
        )
    settings = Config.auto(file)
    in_file, unset = TaskConfig.auto(file), TaskConfig()
    chosen_project = (
        project
        or os.environ.get("FLYTE_DEFAULT_PROJECT")
        or (in_file.project if in_file.project != unset.project else "")
        or DEFAULT_PROJECT
    )
    chosen_domain = (
        domain
        or os.environ.get("FLYTE_DEFAULT_DOMAIN")
        or (in_file.domain if in_file.domain != unset.domain else "")
        or DEFAULT_DOMAIN
    )
    remote = FlyteRemote(
        settings.with_params(platform=_without_browser(settings.platform)),
        default_project=chosen_project,
        default_domain=chosen_domain,
        interactive_mode_enabled=False,
    )
    source = "FLYTE_PLATFORM_URL" if file is None else file._location  # noqa: SLF001 - no public name
    return Flyte(
        remote=remote, project=chosen_project, domain=chosen_domain, config_path=str(source)
    )


def _without_browser(platform: "PlatformConfig") -> "PlatformConfig":
    """Without a terminal nobody can log in through a browser: then a refused login is an error."""
    from flytekit.clients.auth.authenticator import PKCEAuthenticator
    from flytekit.clients.auth.exceptions import AuthenticationError
    from flytekit.clients.auth_helper import register_authenticator_plugin
    from flytekit.configuration import AuthType

    mode = platform.auth_mode
    name = mode.value if isinstance(mode, AuthType) else str(mode)
    if sys.stdin.isatty() or name.lower() not in ("standard", "pkce"):
        return platform

    class StoredLogin(PKCEAuthenticator):  # type: ignore[misc]
        """Uses a token that an earlier login left in the keyring."""

        def refresh_credentials(self) -> None:
            raise AuthenticationError("there is no terminal to log in from")

    register_authenticator_plugin(_NO_BROWSER, lambda cfg, store: StoredLogin(cfg.endpoint, store))
    return replace(platform, auth_mode=_NO_BROWSER)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(text: str, *, limit: int = 160) -> str:
    """The telling part of a status text: gRPC puts the last error at its end."""
    line = next(iter(text.rpartition("last error: ")[2].strip().splitlines()), "no details")
    return line if len(line) <= limit else line[: limit - 3] + "..."
