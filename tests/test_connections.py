"""What stands between a relay's rooms and its clients' sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest
from websockets.exceptions import ConnectionClosed

from relay_clients import (
    INFO,
    PATIENCE_S,
    closing_code,
    listeners,
    member,
    next_media,
    plain_socket,
    relay,
)
from room_members import Outlet, media
from streamcodec.wire.message_json import parse_message, serialize_message
from streamcodec.wire.session import CloseCode, Hello, Role, Time
from streamcodec_bench.load_clients import masked
from streamcodec_server.connection import Connection
from streamcodec_server.relay import DELIVERIES_A_STEP, Relay
from streamcodec_server.settings import RelayConfig
from streamcodec_server.turns import Turns

HELLO = serialize_message(Hello(Role.LISTEN, "a")).encode()
CONTINUATION, TEXT, BINARY, PING, PONG, FIN = 0, 1, 2, 9, 10, 0x80


def part(opcode: int, data: bytes, *, last: bool = False) -> bytes:
    """Of a client's message in fragments."""
    frame = bytearray(masked(opcode, data))
    frame[0] = opcode | (FIN if last else 0)
    return bytes(frame)


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def kept() -> int:
    """Connections that are in memory."""
    return sum(type(thing) is Connection for thing in gc.get_objects())


async def no_request(url: str) -> None:
    host, _, port = url.removeprefix("ws://").rpartition(":")
    with socket.create_connection((host, int(port))) as tcp:
        tcp.sendall(b"GET / HT")
        await asyncio.sleep(0.05)


async def not_a_hello(url: str) -> None:
    async with plain_socket(url) as tcp:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(tcp, masked(TEXT, b"{}"))
        assert b"4400" in await loop.sock_recv(tcp, 4_096)


async def a_listener(url: str) -> None:
    async with member(url, Hello(Role.LISTEN, "a")) as (connection, _):
        await connection.ping()


async def a_talker(url: str) -> None:
    async with member(url, Hello(Role.TALK, "a", "Ada", INFO)) as (connection, _):
        await connection.send(media(0))


async def gone_without_a_word(url: str) -> None:
    async with member(url, Hello(Role.BOTH, "a", "Ada", INFO)) as (connection, _):
        connection.transport.abort()


@pytest.mark.parametrize(
    "visit", [no_request, not_a_hello, a_listener, a_talker, gone_without_a_word]
)
async def test_nothing_of_an_ended_connection_waits_for_the_garbage_collector(
    visit: Callable[[str], Awaitable[None]],
) -> None:
    """Full collections of 85 to 162 ms once stopped the relay whenever 500 clients reconnected."""
    async with relay() as (running, _, url):
        await visit(url)
        with no_collection():
            for _ in range(5):
                await visit(url)
            async with asyncio.timeout(PATIENCE_S):
                while running.connections or kept():
                    await asyncio.sleep(0.01)


async def test_a_message_may_come_in_fragments_with_pings_between_them() -> None:
    async with relay() as (running, _, url), plain_socket(url) as tcp:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(tcp, part(TEXT, HELLO[:9]))
        await loop.sock_sendall(tcp, masked(PING, b"well?") + part(CONTINUATION, HELLO[9:20]))
        assert await loop.sock_recv(tcp, 64) == b"\x8a\x05well?"
        await loop.sock_sendall(tcp, part(CONTINUATION, HELLO[20:], last=True))
        assert b"welcome" in await loop.sock_recv(tcp, 4_096)
        assert len(listeners(running)) == 1


async def test_media_in_fragments_reaches_listeners() -> None:
    async with relay() as (_, _, url), member(url, Hello(Role.LISTEN, "a")) as (well, _):
        async with member(url, Hello(Role.TALK, "a", "Ada", INFO)) as (ada, _):
            datagram = media(0)
            ada.transport.write(part(BINARY, datagram[:5]))
            ada.transport.write(part(CONTINUATION, datagram[5:], last=True))
            assert (await next_media(well)).payload == b"voice"


@pytest.mark.parametrize("in_fragments", [False, True])
async def test_text_that_is_not_utf_8_ends_the_connection(in_fragments: bool) -> None:
    async with relay() as (_, _, url), member(url, Hello(Role.LISTEN, "a")) as (bad, _):
        if in_fragments:
            bad.transport.write(part(TEXT, b"\xff") + part(CONTINUATION, b"\xff", last=True))
        else:
            bad.transport.write(masked(TEXT, b"\xff\xff"))
        assert (await closing_code(bad))[0] == 1007


async def test_a_message_that_is_too_large_in_fragments_ends_the_connection() -> None:
    async with relay() as (_, _, url), member(url, Hello(Role.LISTEN, "a")) as (bad, _):
        bad.transport.write(part(TEXT, bytes(4_000)) + part(CONTINUATION, bytes(4_000)))
        with pytest.raises(ConnectionClosed):
            await bad.recv()
        assert bad.close_code == 1009


async def test_nothing_follows_the_answer_to_a_close_frame() -> None:
    async with relay(close_timeout_s=PATIENCE_S) as (running, _, url), plain_socket(url) as tcp:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(tcp, masked(TEXT, HELLO))
        assert b"welcome" in await loop.sock_recv(tcp, 4_096)
        ask = masked(TEXT, serialize_message(Time(1.0)).encode())
        close = masked(8, (1000).to_bytes(2, "big"))
        await loop.sock_sendall(tcp, close + ask + masked(PING, b""))
        assert await loop.sock_recv(tcp, 4_096) == b"\x88\x02\x03\xe8"
        assert await loop.sock_recv(tcp, 4_096) == b""
        tcp.close()
        async with asyncio.timeout(PATIENCE_S):
            while running.connections:
                await asyncio.sleep(0.01)


async def test_whoever_asks_for_nothing_is_sent_away_while_the_relay_goes_down() -> None:
    async with contextlib.AsyncExitStack() as ending:
        _, _, url = await ending.enter_async_context(relay(close_timeout_s=PATIENCE_S))
        host, _, port = url.removeprefix("ws://").rpartition(":")
        with socket.create_connection((host, int(port))) as tcp:
            tcp.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(tcp, b"GET / HTTP/1.1\r\n")
            await asyncio.sleep(0.05)
            async with asyncio.timeout(PATIENCE_S / 2):
                await ending.aclose()
            assert b"503 Service Unavailable" in await loop.sock_recv(tcp, 4_096)


async def test_one_call_has_its_turn_in_each_round() -> None:
    turns, called = Turns(), 0

    def call() -> None:
        nonlocal called
        called += 1

    def fails() -> None:
        raise RuntimeError("in its turn")

    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    task = asyncio.create_task(turns.run())
    await asyncio.sleep(0)
    for wanted in (call, fails, *[call] * 28):
        turns.add(wanted)
    rounds = 0
    while called < 29:
        before = called
        await asyncio.sleep(0)
        assert called - before <= 1
        rounds += 1
    assert rounds >= 29
    turns.add(call)
    task.cancel()
    turns.finish()
    assert called == 30


async def test_however_much_comes_at_once_deliveries_leave_room_for_others() -> None:
    """Eight packets in one read, to 100 listeners, once made 800 deliveries in one go."""
    running = Relay(RelayConfig(port=0))
    outlets = [Outlet() for _ in range(100)]
    for outlet in outlets:
        outlet.writable, outlet.room = True, 1_000
        running.rooms.join(Hello(Role.LISTEN, "a"), outlet)
    connection = Connection(running, PATIENCE_S, PATIENCE_S)
    connection.joined(running.rooms.join(Hello(Role.TALK, "a", "Ada", INFO), connection))
    running.rooms.distribute(0.0, 1_000)
    before = running.rooms.counters.packets_out
    for sequence in range(8):
        running.received(connection, media(sequence))
    assert 0 < running.rooms.counters.packets_out - before <= DELIVERIES_A_STEP
    assert running.rooms.waiting


async def test_a_client_that_says_nothing_is_told_so() -> None:
    async with relay(hello_timeout_s=0.1) as (_, _, url), plain_socket(url) as tcp:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE_S):
            said = await loop.sock_recv(tcp, 4_096)
        assert b"no hello within 0.1 s" in said
        message = parse_message(said[2 : 2 + said[1]].decode())
        assert getattr(message, "code", None) == CloseCode.POLICY_VIOLATION


async def test_what_follows_an_answer_over_http_is_not_kept() -> None:
    """One client once stopped the relay for 0.9 s, and filled 93 MiB, before it was cut off."""
    async with relay(close_timeout_s=PATIENCE_S) as (running, _, url):
        host, _, port = url.removeprefix("ws://").rpartition(":")
        with socket.create_connection((host, int(port))) as tcp:
            tcp.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(tcp, b"GET /healthz HTTP/1.1\r\n\r\n")
            assert b"200 OK" in await loop.sock_recv(tcp, 4_096)
            for _ in range(50):
                await loop.sock_sendall(tcp, bytes(60_000))
                await asyncio.sleep(0)
            (connection,) = running.connections
            assert connection.unread_bytes == 0


async def test_whoever_waits_for_its_turn_to_shake_hands_is_not_read() -> None:
    """200 of them once filled 490 MiB in 1.5 s."""
    running = Relay(RelayConfig(port=0))
    waiting: list[Connection] = []
    running.shake_hands = waiting.append  # type: ignore[method-assign]
    async with running.running() as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as tcp:
            tcp.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(tcp, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            while not waiting:
                await asyncio.sleep(0.01)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.3):
                    while True:  # until the kernel takes no more
                        await loop.sock_sendall(tcp, bytes(60_000))
            (connection,) = waiting
            assert connection.unread_bytes < 200_000
            connection.shake_hands()
            async with asyncio.timeout(PATIENCE_S):
                assert b"426" in await loop.sock_recv(tcp, 4_096)


@pytest.mark.parametrize(
    ("frame", "what"),
    [
        (masked(PONG, b""), "pongs"),
        (part(CONTINUATION, b""), "fragments"),
        (masked(TEXT, b'{"type":"of a later version"}'), "messages"),
    ],
)
async def test_frames_that_say_nothing_are_not_taken_without_end(frame: bytes, what: str) -> None:
    async with relay() as (_, _, url), member(url, Hello(Role.LISTEN, "a")) as (eager, _):
        if what == "fragments":
            eager.transport.write(part(TEXT, b"begun"))
        eager.transport.write(frame * 3_000)
        code, reason = await closing_code(eager)
        assert code == CloseCode.TOO_FAST
        assert reason == f"too many {what} a second from this client"


async def test_a_client_that_is_gone_when_it_is_answered_is_cut_off() -> None:
    """asyncio raises OSError for what uvloop passes over."""
    running = Relay(RelayConfig(port=0))
    connection = Connection(running, PATIENCE_S, PATIENCE_S)
    connection.transport = gone = Gone()  # type: ignore[assignment]
    connection.data_received(b"GET /healthz HTTP/1.1\r\n\r\n")
    connection.shake_hands()
    assert gone.aborted
    assert connection.closing
    connection.close(CloseCode.SERVICE_RESTART, "going down")
    connection.connection_lost(None)


class Gone(asyncio.Transport):
    """Of a client that has reset its connection."""

    aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Nobody gets it."""

    def write_eof(self) -> None:
        raise OSError(107, "Transport endpoint is not connected")

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        """There is nothing to read."""

    resume_reading = pause_reading

    def abort(self) -> None:
        self.aborted = True
