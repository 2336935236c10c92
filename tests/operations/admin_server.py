"""Serves the in-memory control plane over real gRPC, with its login and upload endpoints."""

# ruff: noqa: N802, ARG002 - gRPC and HTTP give the names and arguments of the methods

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from admin_service import AdminService
from flyteidl.service import (
    admin_pb2_grpc,
    auth_pb2,
    auth_pb2_grpc,
    dataproxy_pb2,
    dataproxy_pb2_grpc,
)

TOKEN = "token-of-the-test"


class _Interceptor(grpc.ServerInterceptor):
    """Records AdminService requests, plays refusals, and asks for a token where login is on."""

    def __init__(self, admin: AdminService, token: str | None) -> None:
        self._admin, self._token = admin, token

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        handler = continuation(details)
        service, _, method = details.method.lstrip("/").rpartition("/")
        if handler is None or not service.endswith("AdminService"):
            return handler
        metadata = dict(details.invocation_metadata)

        def serve(request: Any, context: grpc.ServicerContext) -> Any:
            if self._token and metadata.get("authorization") != f"Bearer {self._token}":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "token is missing or expired")
            self._admin.observe(method, request, context)
            return handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            serve, handler.request_deserializer, handler.response_serializer
        )


class _Login(auth_pb2_grpc.AuthMetadataServiceServicer):
    def __init__(self, web: str) -> None:
        self._web = web

    def GetOAuth2Metadata(self, request: Any, context: Any) -> Any:
        return auth_pb2.OAuth2MetadataResponse(token_endpoint=f"{self._web}/token")

    def GetPublicClientConfig(self, request: Any, context: Any) -> Any:
        return auth_pb2.PublicClientAuthConfigResponse(
            client_id="flytekit", authorization_metadata_key="authorization", scopes=["all"]
        )


class _Uploads(dataproxy_pb2_grpc.DataProxyServiceServicer):
    def __init__(self, web: str) -> None:
        self._web = web

    def CreateUploadLocation(self, request: Any, context: Any) -> Any:
        name = f"{request.filename_root}/{request.filename}".lstrip("/")
        return dataproxy_pb2.CreateUploadLocationResponse(
            signed_url=f"{self._web}/upload/{name}", native_url=f"s3://flyte-data/{name}"
        )


def _web_handler(uploads: dict[str, bytes], secret: str | None) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its parent's name
            """Silence."""

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers["Content-Length"]))

        def do_PUT(self) -> None:
            uploads[self.path.removeprefix("/upload/")] = self._body()
            self.send_response(200)
            self.end_headers()

        def do_POST(self) -> None:
            self._body()
            from flytekit.clients.auth.token_client import get_basic_authorization_header

            wanted = get_basic_authorization_header("oppen", secret or "")
            ok = self.headers["Authorization"] == wanted
            answer = {"access_token": TOKEN, "expires_in": 60} if ok else {"error": "no_client"}
            self.send_response(200 if ok else 401)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

    return Handler


class AdminServer:
    """A control plane on a free loopback port, up inside a `with` block.

    Args:
        projects: ids of the projects that exist.
        domains: ids of the domains that exist.
        client_secret: the secret of client `oppen`; None serves without login.
    """

    def __init__(
        self,
        *,
        projects: Sequence[str] = ("oppen",),
        domains: Sequence[str] = ("development", "production"),
        client_secret: str | None = None,
    ) -> None:
        self.admin = AdminService(projects, domains)
        self.uploads: dict[str, bytes] = {}
        self._secret = client_secret
        self._web = ThreadingHTTPServer(("127.0.0.1", 0), _web_handler(self.uploads, client_secret))
        self._grpc = grpc.server(
            ThreadPoolExecutor(4),
            interceptors=[_Interceptor(self.admin, TOKEN if client_secret else None)],
        )
        web = f"http://127.0.0.1:{self._web.server_port}"
        admin_pb2_grpc.add_AdminServiceServicer_to_server(self.admin, self._grpc)
        auth_pb2_grpc.add_AuthMetadataServiceServicer_to_server(_Login(web), self._grpc)
        dataproxy_pb2_grpc.add_DataProxyServiceServicer_to_server(_Uploads(web), self._grpc)
        self.port = self._grpc.add_insecure_port("127.0.0.1:0")

    @property
    def endpoint(self) -> str:
        """Host and port of the gRPC services."""
        return f"127.0.0.1:{self.port}"

    def write_config(self, folder: Path) -> Path:
        """Writes a Flyte configuration file that leads here."""
        path = folder / "flyte.yaml"
        lines = ["admin:", f"  endpoint: {self.endpoint}", "  insecure: true"]
        if self._secret:
            lines += ["  authType: ClientSecret", "  clientId: oppen"]
            lines += ["  clientSecretEnvVar: OPPEN_FLYTE_CLIENT_SECRET"]
        path.write_text("\n".join(lines) + "\n")
        return path

    def __enter__(self) -> Self:
        self._grpc.start()
        self._thread = threading.Thread(target=self._web.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._grpc.stop(grace=None).wait()
        self._web.shutdown()
        self._web.server_close()
        self._thread.join()
