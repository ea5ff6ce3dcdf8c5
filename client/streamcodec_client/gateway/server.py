"""The gateway: websockets that carry raw PCM, each a member of a room of a relay."""

from __future__ import annotations

import contextlib
import dataclasses
import http
import json
import socket
from collections.abc import AsyncIterator

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response

from streamcodec.errors import ConfigError
from streamcodec.listening import check_address, listening_at
from streamcodec.wire.session import CloseCode

from .member import MemberSettings, run_member
from .request import parse_request

# 256 ms at 16 kHz: with its default the kernel would hold a minute for a client that does not read.
SEND_BUFFER_BYTES = 8_192
WRITE_LIMIT_BYTES = 512
MAX_FRAME_BYTES = 1 << 16
MAX_FRAMES = 4  # that came and wait for the event loop


@dataclasses.dataclass(frozen=True)
class GatewayConfig:
    """Where one process listens. shared_port: other processes listen there, too (Linux)."""

    host: str = "127.0.0.1"
    port: int = 8766
    max_clients: int = 12
    shared_port: bool = False

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        check_address(self.host, self.port)


class Gateway:
    """Accepts clients on an event loop. `async with gateway.running() as server`."""

    def __init__(self, config: GatewayConfig, settings: MemberSettings) -> None:
        self._config, self._settings = config, settings
        self._clients = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        """Raises ConfigError if the address cannot be used. At the end clients are closed with
        1012, and leave their rooms.
        """
        config = self._config
        with listening_at(config.host, config.port, shared_port=config.shared_port) as where:
            server = await serve(
                self._meet,
                **where,
                process_request=self._answer_http,
                compression=None,  # takes more time than it is worth for PCM
                max_size=MAX_FRAME_BYTES,
                max_queue=MAX_FRAMES,
                write_limit=WRITE_LIMIT_BYTES,
                close_timeout=2.0,
            )
        try:
            yield server
        finally:
            server.close(code=CloseCode.SERVICE_RESTART, reason="the gateway is going down")
            await server.wait_closed()

    def _answer_http(self, connection: ServerConnection, request: HttpRequest) -> Response | None:
        """Answers /healthz, and refuses what is asked for wrongly or too much."""
        if request.path == "/healthz":
            health = {"status": "ok", "clients": self._clients}
            return connection.respond(http.HTTPStatus.OK, json.dumps(health) + "\n")
        try:
            parse_request(request.path)
        except ConfigError as error:
            return connection.respond(http.HTTPStatus.BAD_REQUEST, f"{error}\n")
        if self._clients >= self._config.max_clients:
            return connection.respond(
                http.HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self._config.max_clients} clients are here already\n",
            )
        return None

    async def _meet(self, connection: ServerConnection) -> None:
        assert connection.request is not None  # what `_answer_http` has let through
        raw = connection.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._clients += 1
        try:
            await run_member(connection, parse_request(connection.request.path), self._settings)
        finally:
            self._clients -= 1
