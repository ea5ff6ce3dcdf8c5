"""What one client does to a relay over real sockets costs no other member anything."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from relay_clients import (
    INFO,
    NO_BUDGETS,
    PATIENCE_S,
    closing_code,
    listeners,
    member,
    next_media,
    plain_socket,
    relay,
    stuck_listener,
)
from streamcodec.wire.message_json import parse_message, serialize_message
from streamcodec.wire.packet import Flags, Packet, serialize
from streamcodec.wire.session import SUBPROTOCOL, CloseCode, Hello, Mute, Role, Time
from streamcodec_bench.load_clients import masked
from streamcodec_server.addresses import AddressLimits
from streamcodec_server.connection import MOST_UNSENT_BYTES, Connection
from streamcodec_server.limits import RoomLimits
from streamcodec_server.relay import Relay

SUBPROTOCOLS = [Subprotocol(SUBPROTOCOL)]


def connections(running: Relay) -> frozenset[Connection]:
    return running.connections


async def gone(running: Relay, left: int = 0) -> None:
    """Until the relay has no more connections, and members, than `left`."""
    async with asyncio.timeout(PATIENCE_S):
        while max(len(connections(running)), len(listeners(running))) > left:
            await asyncio.sleep(0.01)


async def test_one_write_of_257_messages_empties_no_room() -> None:
    """Once it closed all 21 healthy listeners with 4490, and the sender stayed."""
    async with relay() as (running, _, url), contextlib.AsyncExitStack() as room:
        healthy = [
            (await room.enter_async_context(member(url, Hello(Role.LISTEN, "a"))))[0]
            for _ in range(21)
        ]
        mallory, _ = await room.enter_async_context(member(url, Hello(Role.TALK, "a", "M", INFO)))
        ada, welcome = await room.enter_async_context(
            member(url, Hello(Role.TALK, "a", "Ada", INFO))
        )
        one = masked(1, serialize_message(Mute(True)).encode())
        mallory.transport.write(one * 257)
        await mallory.send(serialize_message(Time(1.0)))
        for _ in range(100):  # not one second passes by the relay's clock
            if running.rooms.counters.throttled >= 100:
                break
            await asyncio.sleep(0.02)
        await ada.send(serialize(Packet(Flags.VOICE, 0, 3, 0, b"still here")))
        for listener in healthy:
            heard = await next_media(listener)
            assert (heard.stream, heard.payload) == (welcome.stream, b"still here")
        assert len(listeners(running)) == 21


@pytest.mark.parametrize("joins", [False, True])
async def test_who_pings_and_reads_nothing_is_cut_before_memory_grows(joins: bool) -> None:
    """The answers once filled 700 MB in 49 s, and the client stayed a member for ever."""
    async with relay(RoomLimits(**NO_BUDGETS)) as (running, _, url):
        opened = stuck_listener(running, url) if joins else plain_socket(url)
        async with opened as tcp:
            loop, most = asyncio.get_running_loop(), 0
            pings = masked(9, bytes(125)) * 100
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    while connections(running):
                        await loop.sock_sendall(tcp, pings)
                        for connection in connections(running):
                            size = connection.transport.get_write_buffer_size()
                            most = max(most, size)
                        await asyncio.sleep(0)
            await gone(running)
            assert most <= MOST_UNSENT_BYTES + 300_000  # what one read may ask for
            assert not listeners(running)


async def test_a_flood_of_pings_that_are_read_ends_with_4429() -> None:
    async with relay() as (_, _, url), member(url, Hello(Role.LISTEN, "a")) as (eager, _):
        eager.transport.write(masked(9, b"") * 1_000)
        code, reason = await closing_code(eager)
        assert code == CloseCode.TOO_FAST
        assert reason == "too many pings a second from this client"


async def test_who_takes_nothing_for_ten_seconds_is_cut_although_nobody_speaks() -> None:
    async with (
        relay(RoomLimits(**NO_BUDGETS)) as (running, clock, url),
        stuck_listener(running, url) as tcp,
    ):
        (connection,) = connections(running)
        ask = masked(1, serialize_message(Time(1.0)).encode())
        while connection.blocked_ms is None:  # fills the buffers on the way to it, then stops
            await asyncio.get_running_loop().sock_sendall(tcp, ask)
            await asyncio.sleep(0)
        clock.now_ms += 9_000.0
        await asyncio.sleep(0.6)
        assert listeners(running)
        clock.now_ms += 1_100.0
        await gone(running)


async def test_a_client_that_gives_no_sign_of_life_is_ended() -> None:
    async with (
        relay(ping_interval_s=10) as (running, clock, url),
        stuck_listener(running, url),
        member(url, Hello(Role.LISTEN, "a")) as (well, _),
    ):
        for _ in range(7):
            clock.now_ms += 5_000.0
            await asyncio.sleep(0.3)
        await gone(running, left=1)
        assert len(listeners(running)) == 1
        await well.send(serialize_message(Time(1.0)))
        assert isinstance(parse_message(str(await well.recv())), Time)


async def test_half_a_request_holds_neither_memory_nor_the_exit() -> None:
    async with asyncio.timeout(PATIENCE_S), contextlib.AsyncExitStack() as ending:
        running, _, url = await ending.enter_async_context(relay())
        host, _, port = url.removeprefix("ws://").rpartition(":")
        loop = asyncio.get_running_loop()
        with socket.create_connection((host, int(port))) as tcp, contextlib.ExitStack() as held:
            tcp.setblocking(False)
            await loop.sock_sendall(tcp, b"GET / HTTP/1.1\r\n")
            with contextlib.suppress(ConnectionError):
                for n in range(400):
                    await loop.sock_sendall(tcp, b"X-%d: " % n + b"x" * 100 + b"\r\n")
            await gone(running)
            half = held.enter_context(socket.create_connection((host, int(port))))
            half.sendall(b"GET / HTT")
            while not connections(running):
                await asyncio.sleep(0.01)
            before = loop.time()
            await ending.aclose()
            assert loop.time() - before < 5  # the time-out is 0.05 s; a handshake has 20


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("https://call.example", True),
        ("http://call.example", False),
        ("https://call.example.evil", False),
        ("null", False),
    ],
)
async def test_only_pages_that_are_named_may_connect(origin: str | None, allowed: bool) -> None:
    async with relay(origins=frozenset({"https://call.example"})) as (_, _, url):
        sent = None if origin is None else Origin(origin)
        opening = connect(url, subprotocols=SUBPROTOCOLS, proxy=None, origin=sent)
        if allowed:
            async with opening as connection:
                await connection.send(serialize_message(Hello(Role.LISTEN, "a")))
                assert '"welcome"' in str(await connection.recv())
            return
        with pytest.raises(InvalidStatus) as refused:
            await opening
        assert refused.value.response.status_code == 403


async def answer(url: str, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of what a relay answers."""
    host, _, port = url.removeprefix("ws://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(PATIENCE_S):
        writer.write(request)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    return head, body


@pytest.mark.parametrize("method", [b"HEAD", b"POST", b"OPTIONS"])
async def test_other_methods_are_answered_at_once_and_without_a_body(method: bytes) -> None:
    async with relay() as (_, _, url):
        head, body = await answer(url, method + b" /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 405")
        assert b"\r\nAllow: GET" in head
        assert body == b""


async def test_a_full_relay_is_not_ready() -> None:
    async with relay(RoomLimits(max_rooms=1)) as (_, _, url):
        ask = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
        head, body = await answer(url, ask)
        assert head.startswith(b"HTTP/1.1 200")
        assert json.loads(body)["ready"] is True
        async with member(url, Hello(Role.LISTEN, "a")):
            head, body = await answer(url, ask)
            assert head.startswith(b"HTTP/1.1 503")
            assert json.loads(body)["ready"] is False


async def test_connections_of_one_address_are_limited() -> None:
    limits = RoomLimits(addresses=AddressLimits(connections=2))
    async with relay(limits) as (running, _, url):
        async with member(url, Hello(Role.LISTEN, "a")), member(url, Hello(Role.LISTEN, "a")):
            with pytest.raises(InvalidStatus) as refused:
                await connect(url, subprotocols=SUBPROTOCOLS, proxy=None)
            assert refused.value.response.status_code == 429
        await gone(running)
        async with member(url, Hello(Role.LISTEN, "a")):
            assert len(listeners(running)) == 1


@pytest.mark.parametrize("version", ["1.0", "1", "2", "4", "3.5"])
async def test_every_other_version_gets_4426(version: str) -> None:
    hello = f'{{"type": "hello", "version": {version}, "role": "listen", "room": "a"}}'
    async with (
        relay() as (_, _, url),
        connect(url, subprotocols=SUBPROTOCOLS, proxy=None) as connection,
    ):
        await connection.send(hello)
        assert (await closing_code(connection))[0] == CloseCode.VERSION
