"""What a relay answers to HTTP requests, before one becomes a websocket."""

from __future__ import annotations

import http
import json
from collections.abc import Sequence
from typing import Protocol

from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from streamcodec.wire.session import SUBPROTOCOL

from .connection import Connection
from .origins import UNKNOWN, how_to_know, is_known_host, is_own
from .overview import BEARER, PATH, bearer_of, overview
from .pages import JSON_TYPE, TEXT_TYPE, asks_for_websocket, said
from .room_list import ROOMS_PATH, RoomList
from .rooms import Rooms
from .settings import RelayConfig


class Asked(Protocol):
    """The relay, as far as answers need it."""

    config: RelayConfig

    @property
    def ready(self) -> bool: ...

    @property
    def rooms(self) -> Rooms: ...

    @property
    def room_list(self) -> RoomList: ...

    def clock(self) -> float: ...

    def forwarded(self, connection: Connection, forwarded: Sequence[str]) -> bool: ...

    def health(self) -> dict[str, object]: ...


def answer_request(
    relay: Asked, connection: Connection, protocol: ServerProtocol, request: Request
) -> Response | None:
    """Answers /healthz, /readyz and /rooms, gives out the page where there is one, and refuses
    foreign pages and other subprotocols; None: it may become a websocket.
    """
    if request.method != "GET":
        response = protocol.reject(http.HTTPStatus.METHOD_NOT_ALLOWED, "")
        response.headers["Allow"] = "GET"
        return response
    if not relay.forwarded(connection, request.headers.get_all("X-Forwarded-For")):
        return protocol.reject(
            http.HTTPStatus.TOO_MANY_REQUESTS, "too many connections of this address\n"
        )
    path = request.path.partition("?")[0]
    connection.bearer = bearer_of(request.headers.get_all("Authorization"))
    if path == "/healthz":
        return protocol.reject(http.HTTPStatus.OK, json.dumps(relay.health()) + "\n")
    if path == "/readyz":
        status = http.HTTPStatus.OK if relay.ready else http.HTTPStatus.SERVICE_UNAVAILABLE
        health = {**relay.health(), "ready": relay.ready}
        return protocol.reject(status, json.dumps(health) + "\n")
    if path == PATH or path.startswith(f"{PATH}/"):
        status, body = overview(
            path, connection.bearer, relay.config.keys, relay.rooms.rooms, relay.clock()
        )
        response = protocol.reject(status, body)
        if status is http.HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = BEARER.strip()
        return response
    page = relay.config.page
    if page is not None and not asks_for_websocket(request.headers):
        if page.lists_rooms and path == ROOMS_PATH:
            return _open_rooms(relay, connection.bearer, request.headers)
        response, connection.body = page.answer(path, request.headers)
        return response
    if refusal := _refusal_of_page(request.headers, relay.config):
        return protocol.reject(http.HTTPStatus.FORBIDDEN, f"{refusal}\n")
    offered = ",".join(request.headers.get_all("Sec-WebSocket-Protocol")).split(",")
    if SUBPROTOCOL not in (name.strip() for name in offered):
        return protocol.reject(
            http.HTTPStatus.UPGRADE_REQUIRED,
            f"this relay speaks the websocket subprotocol {SUBPROTOCOL}\n",
        )
    return None


def _open_rooms(relay: Asked, token: str, headers: Headers) -> Response:
    """For the page, and for nobody else's."""
    config, hosts = relay.config, headers.get_all("Host")
    refusal = _refusal_of_page(headers, config)
    if not refusal and not is_known_host(hosts, config.origins):
        refusal = how_to_know(f"https://{hosts[0]}" if len(hosts) == 1 else "")
    if refusal:
        return said(http.HTTPStatus.FORBIDDEN, f"{refusal}\n")
    fixed, now_ms = config.limits.rooms, relay.clock()
    status, body = relay.room_list.answer(token, config.keys, relay.rooms.rooms, fixed, now_ms)
    found = status is http.HTTPStatus.OK
    response = said(status, body, JSON_TYPE if found else TEXT_TYPE)
    if not found:
        response.headers["WWW-Authenticate"] = BEARER.strip()
    return response


def _refusal_of_page(headers: Headers, config: RelayConfig) -> str:
    """Why the page that connects, if one does, may not; empty if it may."""
    # Programs send no Origin, browsers always do.
    foreign = sorted(set(headers.get_all("Origin")) - config.origins)
    if config.page is not None:
        hosts = headers.get_all("Host")
        foreign = [origin for origin in foreign if not is_own(origin, hosts)]
        return how_to_know(foreign[0]) if foreign else ""
    return UNKNOWN if foreign else ""
