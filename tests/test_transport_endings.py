"""How a connection to a relay ends: refused, closed, never opened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from stand_in_relay import HELLO, Client, Diary, StandInRelay, standing_in
from streamcodec.errors import ConnectionRefused
from streamcodec.live.reconnect_events import Failed
from streamcodec.live.reconnect_timing import Timing
from streamcodec.wire.message_json import serialize_message
from streamcodec.wire.session import CloseCode, Error
from streamcodec_client.clock import MonotonicClock
from streamcodec_client.transport.opening import route_to, websocket_opener
from streamcodec_client.transport.relay import RelayTransport


@pytest.fixture
async def relay() -> AsyncIterator[StandInRelay]:
    async with standing_in(StandInRelay()) as stand_in:
        yield stand_in


@pytest.mark.parametrize(
    "code",
    [
        CloseCode.MALFORMED,
        CloseCode.NO_SUCH_ROOM,
        CloseCode.VERSION,
        CloseCode.TOO_FAST,
        CloseCode.POLICY_VIOLATION,
    ],
)
async def test_a_final_close_code_is_not_tried_again(relay: StandInRelay, code: CloseCode) -> None:
    relay.refusals.append((Error(code, "no such thing here"), code))
    client = Client(relay.url)
    with pytest.raises(ConnectionRefused, match="no such thing here") as refused:
        await client.ends()
    assert refused.value.close_code == code
    assert relay.received.qsize() == 1


@pytest.mark.parametrize(
    "code",
    [
        CloseCode.TOO_SLOW,
        CloseCode.SERVICE_RESTART,
        CloseCode.GOING_AWAY,
        CloseCode.TRY_AGAIN_LATER,
    ],
)
async def test_other_endings_are_tried_again(relay: StandInRelay, code: CloseCode) -> None:
    relay.refusals.append((None, code))
    client = Client(relay.url)
    assert await client.diary.next() == ("connected", 1)
    assert relay.received.qsize() == 2
    await client.leaves()


async def test_a_session_that_the_relay_ends_is_over(relay: StandInRelay) -> None:
    client = Client(relay.url)
    await client.diary.next()
    assert relay.connection is not None
    await relay.connection.close(CloseCode.NORMAL)
    await client.ends()


async def test_a_final_close_in_mid_session_says_why(relay: StandInRelay) -> None:
    client = Client(relay.url)
    await client.diary.next()
    assert relay.connection is not None
    await relay.connection.send(
        serialize_message(Error(CloseCode.MALFORMED, "need 12 header bytes, got 3"))
    )
    await relay.connection.close(CloseCode.MALFORMED)
    with pytest.raises(ConnectionRefused, match="need 12 header bytes, got 3"):
        await client.ends()


async def test_a_name_with_several_addresses_is_refused_in_the_same_words(
    relay: StandInRelay,
) -> None:
    await relay.die()
    url = f"ws://localhost:{relay.port}"  # of IPv4 and, mostly, of IPv6
    with pytest.raises(ConnectionRefused, match=f"no relay at {url}: connection refused"):
        await Client(url, first_connection_s=0.0).ends()
    await relay.start()


async def test_no_relay_at_all_is_named(relay: StandInRelay) -> None:
    await relay.die()
    client = Client(relay.url, first_connection_s=0.0)
    with pytest.raises(ConnectionRefused, match=f"no relay at {relay.url}: connection refused"):
        await client.ends()
    await relay.start()


async def test_a_host_that_never_answers_is_named() -> None:
    async def silent(reached: Callable[[], None]) -> ClientConnection | Failed:
        return Failed("no answer")

    client = Client("ws://nowhere:1", first_connection_s=0.0, opener=silent)
    with pytest.raises(ConnectionRefused, match="no relay at ws://nowhere:1: no answer"):
        await client.ends()


async def test_closing_ends_the_search_for_a_relay(relay: StandInRelay) -> None:
    await relay.die()
    client = Client(relay.url, first_connection_s=1e6)
    await asyncio.sleep(0)
    await client.leaves()
    await relay.start()


@pytest.mark.parametrize(
    ("spoken", "said"),
    [(None, r"does not speak streamcodec\.v3"), ("chat.v9", "HTTP 400: is it a")],
)
async def test_a_server_of_another_protocol_is_refused(spoken: str | None, said: str) -> None:
    async with standing_in(StandInRelay(spoken)) as other:
        with pytest.raises(ConnectionRefused, match=said):
            await Client(other.url).ends()


async def test_a_mail_server_is_refused_at_once() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n")
        await leaving.wait()  # it would go on listening
        writer.close()
        left.set()

    leaving, left = asyncio.Event(), asyncio.Event()
    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionRefused, match="the server does not speak HTTP: is it a"):
            await Client(f"ws://127.0.0.1:{port}").ends()
        leaving.set()
        await left.wait()


@pytest.mark.parametrize(
    ("location", "said"),
    [  # the portal of a hotel, and a relay behind TLS
        ("http://portal.example/", "the server leads elsewhere, to http://portal.example/: is it"),
        ("https://relay.example/", "the server leads to https://relay.example/: give a wss:// URL"),
    ],
)
async def test_a_server_that_leads_to_a_web_page_is_refused(location: str, said: str) -> None:
    def portal(connection: ServerConnection, request: Request) -> Response:
        response = connection.respond(HTTPStatus.FOUND, "not here\n")
        response.headers["Location"] = location
        return response

    async with standing_in(StandInRelay(), process_request=portal) as web:
        with pytest.raises(ConnectionRefused, match=said):
            await Client(web.url).ends()


async def test_an_attempt_that_opens_counts_more_than_those_that_fail_beside_it(
    relay: StandInRelay,
) -> None:
    opened, begun, told = asyncio.Event(), 0, list[str]()
    opener = websocket_opener(relay.url, Timing(), route_to(relay.url))

    async def open_tenth(reached: Callable[[], None]) -> ClientConnection | Failed:
        nonlocal begun
        begun += 1
        if begun < 10:
            await opened.wait()
            return Failed("too late")
        connection = await opener(lambda: None)
        opened.set()
        return connection

    diary = Diary()
    client = RelayTransport(
        relay.url,
        HELLO,
        [diary],
        MonotonicClock(),
        timing=Timing(attempt_s=0.001),
        opener=open_tenth,
        retrying=told.append,
    )
    running = asyncio.ensure_future(client.run())
    assert await diary.next() == ("connected", 1)
    assert told == []
    client.close()
    await running


async def test_a_web_server_is_refused() -> None:
    def not_found(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(HTTPStatus.NOT_FOUND, "nothing here\n")

    async with standing_in(StandInRelay(), process_request=not_found) as web:
        with pytest.raises(ConnectionRefused, match="HTTP 404: is it a streamcodec relay"):
            await Client(web.url).ends()
