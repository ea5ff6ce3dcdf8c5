"""Relays that refuse, over a network whose round trip takes time, on a simulated clock."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from fakes import fake_info
from streamcodec.errors import ConnectionRefused
from streamcodec.wire.session import Hello, Role
from streamcodec_client.transport.relay import RelayTransport
from streamcodec_server.relay import Relay, RelayConfig
from virtual_network import LoopClock, VirtualLoop

URL = "ws://127.0.0.1:1"
HELLO = Hello(Role.TALK, "lobby", "anna", fake_info())
ONE_WAY_S = [0.001, 0.025, 0.1, 0.4]
EAGER_BACKOFF_S = 0.6
MOST_S = 60.0  # of simulated time


def run(loop: VirtualLoop, test: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(asyncio.wait_for(test, MOST_S))


def transport() -> RelayTransport:
    return RelayTransport(URL, HELLO, [], LoopClock(), jitter=lambda: 0.0)


@pytest.mark.parametrize("one_way_s", ONE_WAY_S)
def test_where_no_relay_is_the_search_ends_with_the_reason(one_way_s: float) -> None:
    loop = VirtualLoop(one_way_s)

    async def search() -> None:
        with pytest.raises(ConnectionRefused, match=r"connection refused \(tried for 10 s\)"):
            await transport().run()

    run(loop, search())
    assert 10 <= loop.time() <= 10 + EAGER_BACKOFF_S + 2 * one_way_s
    # At most one attempt each 50 ms until the first refusal of a round, then a back-off of 0.3 s.
    rounds = 10 / (0.3 + 2 * one_way_s) + 3
    assert loop.connections_tried <= rounds * (2 * one_way_s / 0.05 + 1)


@pytest.mark.parametrize("answers_after_s", [0.0, 1.5])
def test_a_proxy_without_its_relay_is_given_up(answers_after_s: float) -> None:
    """It accepts connections and answers with HTTP 502, perhaps after more than a second."""
    loop = VirtualLoop(0.025)
    asked = 0

    async def bad_gateway(connection: ServerConnection, request: Request) -> Response:
        nonlocal asked
        asked += 1
        await asyncio.sleep(answers_after_s)
        return connection.respond(HTTPStatus.BAD_GATEWAY, "no relay\n")

    async def search() -> None:
        async with serve(lambda _: asyncio.sleep(0), port=1, process_request=bad_gateway):
            with pytest.raises(ConnectionRefused, match=r"HTTP 502 \(tried for 10 s\)"):
                await transport().run()

    run(loop, search())
    assert loop.time() <= 10 + answers_after_s + 2 * EAGER_BACKOFF_S
    assert asked <= 60


@pytest.mark.parametrize("one_way_s", ONE_WAY_S)
@pytest.mark.parametrize("gone_s", [0.5, 3.0, 30.0])
def test_a_relay_that_restarts_is_found_soon_after(one_way_s: float, gone_s: float) -> None:
    loop = VirtualLoop(one_way_s)

    def relay() -> Any:
        return Relay(RelayConfig(port=1), clock=lambda: loop.time() * 1e3).running()

    async def session() -> None:
        client = transport()
        running = asyncio.ensure_future(client.run())
        async with relay():
            await asyncio.sleep(6)
            assert client.connection == 1
        await asyncio.sleep(gone_s)
        async with relay():
            await asyncio.sleep(EAGER_BACKOFF_S + 6 * one_way_s)
            assert client.connection == 2
            client.close()
            await running

    run(loop, session())
