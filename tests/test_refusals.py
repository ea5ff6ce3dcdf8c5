"""Servers that refuse, fail or are no relay, over networks whose round trip takes time, on a
simulated clock.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from fakes import fake_info
from streamcodec.errors import ConnectionRefused
from streamcodec.wire.session import SUBPROTOCOL, CloseCode, Hello, Role
from streamcodec_client.transport.relay import RelayTransport
from streamcodec_server.relay import Relay
from streamcodec_server.settings import RelayConfig
from virtual_network import LoopClock, VirtualLoop, virtual_server

URL = "ws://127.0.0.1:1"
HELLO = Hello(Role.TALK, "lobby", "anna", fake_info())
ROUND_TRIPS_S = [0.001, 0.06, 0.2, 0.9]
FIRST_CONNECTION_S = 10.0
EAGER_BACKOFF_S = 0.6
A_FEW = 5  # attempts in any second
MOST_S = 120.0  # of simulated time


class _Closes(asyncio.Protocol):
    """Accepts connections and closes them at once."""

    def connection_made(self, transport: Any) -> None:
        transport.close()


class _Greets(asyncio.Protocol):
    """A mail server."""

    def connection_made(self, transport: Any) -> None:
        transport.write(b"220 mail ready\r\n")


async def _stand(factory: Callable[[], asyncio.Protocol]) -> Any:
    return await asyncio.get_running_loop().create_server(factory, port=1)


async def _stand_http(status: HTTPStatus, after_s: float = 0.0) -> Any:
    async def answer(connection: ServerConnection, request: Request) -> Response:
        await asyncio.sleep(after_s)
        return connection.respond(status, "no relay\n")

    return await serve(lambda _: asyncio.sleep(0), port=1, process_request=answer)


async def _stand_websocket(code: CloseCode) -> Any:
    """Accepts websockets and closes them."""

    async def close(connection: ServerConnection) -> None:
        await connection.close(code)

    return await serve(close, port=1, subprotocols=[SUBPROTOCOL])  # type: ignore[list-item]


async def _nobody() -> None:
    return None


@dataclasses.dataclass(frozen=True)
class Case:
    """Who stands where a relay should; what is said of it; whether that is final at first."""

    stand: Callable[[], Coroutine[Any, Any, Any]]
    said: str
    final: bool = False


CASES = {
    "nobody listens": Case(_nobody, "connection refused"),
    "closes": Case(lambda: _stand(_Closes), "the server closed the connection without an answer"),
    "is silent": Case(
        lambda: _stand(asyncio.Protocol), "the server accepts the connection and says nothing"
    ),
    "another protocol": Case(lambda: _stand(_Greets), "the server does not speak HTTP", True),
    "404": Case(lambda: _stand_http(HTTPStatus.NOT_FOUND), "HTTP 404", True),
    "404 after 1.5 s": Case(lambda: _stand_http(HTTPStatus.NOT_FOUND, 1.5), "HTTP 404", True),
    "502": Case(lambda: _stand_http(HTTPStatus.BAD_GATEWAY), "HTTP 502"),
    "502 after 1.5 s": Case(lambda: _stand_http(HTTPStatus.BAD_GATEWAY, 1.5), "HTTP 502"),
    "websocket closes": Case(
        lambda: _stand_websocket(CloseCode.TRY_AGAIN_LATER), "the relay closed with 1013"
    ),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_round_trip = pytest.mark.parametrize("round_trip_s", ROUND_TRIPS_S)


@each_round_trip
@each_case
def test_a_relay_that_never_lets_us_in_is_given_up_in_time(case: Case, round_trip_s: float) -> None:
    loop, told = VirtualLoop(round_trip_s / 2), list[str]()

    async def search() -> None:
        await case.stand()
        with pytest.raises(ConnectionRefused, match=case.said) as refused:
            await transport(told).run()
        assert ("(tried for 10 s)" in str(refused.value)) is not case.final

    run(loop, search())
    most_in_a_second(loop, A_FEW)
    if case.final:
        assert loop.time() < 1.5 + 4 * round_trip_s + 0.1
        assert told == []
    else:
        assert loop.time() == pytest.approx(FIRST_CONNECTION_S, abs=1e-3)
        assert len(told) == 1  # the reason does not change
        assert case.said in told[0]


@each_round_trip
@each_case
def test_a_lost_session_looks_for_its_relay_with_a_back_off_and_says_why(
    case: Case, round_trip_s: float
) -> None:
    loop, told = VirtualLoop(round_trip_s / 2), list[str]()

    async def session() -> None:
        client = transport(told)
        running = asyncio.ensure_future(client.run())
        async with relay():
            await asyncio.sleep(6)
            assert client.connection == 1
        instead = await case.stand()
        await asyncio.sleep(60)
        assert client.connection is None
        if instead is not None:
            instead.close()
            await instead.wait_closed()
        async with relay():
            await asyncio.sleep(12)  # an attempt that was made before may have to time out
            assert client.connection is not None
            client.close()
            await running

    run(loop, session())
    most_in_a_second(loop, A_FEW)
    assert any(case.said in reason for reason in told)
    assert len(told) <= 2  # while the relay goes and comes back, nobody may be there


@each_round_trip
@pytest.mark.parametrize("gone_s", [0.5, 3.0, 30.0])
def test_a_relay_that_restarts_is_found_soon_after(round_trip_s: float, gone_s: float) -> None:
    loop = VirtualLoop(round_trip_s / 2)

    async def session() -> None:
        client = transport([])
        running = asyncio.ensure_future(client.run())
        async with relay():
            await asyncio.sleep(6)
            assert client.connection == 1
        await asyncio.sleep(gone_s)
        async with relay():
            await asyncio.sleep(EAGER_BACKOFF_S + 3 * round_trip_s)
            assert client.connection == 2
            client.close()
            await running

    run(loop, session())
    most_in_a_second(loop, A_FEW)


def run(loop: VirtualLoop, test: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(asyncio.wait_for(test, MOST_S))


def transport(told: list[str]) -> RelayTransport:
    return RelayTransport(URL, HELLO, [], LoopClock(), retrying=told.append, jitter=lambda: 0.5)


def relay() -> Any:
    loop = asyncio.get_running_loop()
    config = RelayConfig(port=1)
    return Relay(config, lambda: loop.time() * 1e3, open_server=virtual_server).running()


def most_in_a_second(loop: VirtualLoop, limit: int) -> None:
    for at_s in loop.tried_s:
        assert len([other for other in loop.tried_s if at_s <= other < at_s + 1]) <= limit
