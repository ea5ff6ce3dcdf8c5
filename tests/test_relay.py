"""The relay over real sockets on loopback."""

import asyncio
import contextlib
import json
import socket
import urllib.request
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from streamcodec.wire.message_json import parse_message, serialize_message
from streamcodec.wire.packet import Flags, Packet, parse, serialize
from streamcodec.wire.session import (
    SUBPROTOCOL,
    CloseCode,
    Hello,
    Role,
    StreamInfo,
    Time,
    Welcome,
)
from streamcodec_server.mailbox import Mailbox
from streamcodec_server.members import Member
from streamcodec_server.relay import Relay, RelayConfig
from streamcodec_server.rooms import RoomLimits

INFO = StreamInfo("0123456789abcdef", 16_000, 1, 320, 5, 6_000)
# Only so that a broken relay fails a test instead of hanging it; no test depends on its length.
PATIENCE_S = 20


class ManualClock:
    """The relay's time in ms, moved by the test, and by `step_ms` whenever the relay reads it."""

    def __init__(self) -> None:
        self.now_ms = self.step_ms = 0.0

    def __call__(self) -> float:
        self.now_ms += self.step_ms
        return self.now_ms


@contextlib.asynccontextmanager
async def relay(
    limits: RoomLimits | None = None,
    *,
    hello_timeout_s: float = PATIENCE_S,
    close_timeout_s: float = 0.05,
) -> AsyncIterator[tuple[Relay, ManualClock, str]]:
    """A relay whose keepalive never ends a connection: what a test sees ended, the relay ended."""
    clock = ManualClock()
    config = RelayConfig(
        port=0,
        limits=limits or RoomLimits(),
        hello_timeout_s=hello_timeout_s,
        close_timeout_s=close_timeout_s,
        ping_interval_s=3_600,
    )
    running = Relay(config, clock)
    async with running.running() as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield running, clock, f"ws://127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def member(url: str, hello: Hello) -> AsyncIterator[tuple[ClientConnection, Welcome]]:
    async with connect(
        url, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None, proxy=None
    ) as connection:
        await connection.send(serialize_message(hello))
        welcome = parse_message(str(await connection.recv()))
        assert isinstance(welcome, Welcome)
        yield connection, welcome


def listeners(running: Relay) -> list[Member]:
    return [m for room in running.rooms.rooms.values() for m in room.members if m.role.listens]


@contextlib.asynccontextmanager
async def stuck_listener(running: Relay, url: str) -> AsyncIterator[None]:
    """Joins room a, reads the handshake, and nothing more. A websocket library would go on reading,
    so this uses a plain socket.
    """
    host, _, port = url.removeprefix("ws://").rpartition(":")
    loop = asyncio.get_running_loop()
    with socket.socket() as tcp:
        # Before it connects, or the receive window is large already.
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        tcp.setblocking(False)
        await loop.sock_connect(tcp, (host, int(port)))
        request = (
            b"GET / HTTP/1.1",
            b"Host: x",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            b"Sec-WebSocket-Protocol: streamcodec.v2",
        )
        await loop.sock_sendall(tcp, b"\r\n".join((*request, b"", b"")))
        assert b"101" in await loop.sock_recv(tcp, 64)
        before = len(listeners(running))
        hello = serialize_message(Hello(Role.LISTEN, "a")).encode()
        await loop.sock_sendall(tcp, bytes([0x81, 0x80 | len(hello)]) + bytes(4) + hello)
        async with asyncio.timeout(PATIENCE_S):
            while len(listeners(running)) == before:
                await asyncio.sleep(0.01)
        yield


async def closing_code(connection: ClientConnection) -> tuple[int, str]:
    """How the relay ends a connection, whatever it says before."""
    async with asyncio.timeout(PATIENCE_S):
        try:
            while True:
                await connection.recv()
        except ConnectionClosed as closed:
            assert closed.rcvd is not None
            return closed.rcvd.code, closed.rcvd.reason


async def next_media(connection: ClientConnection) -> Packet:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if isinstance(item := await connection.recv(), bytes):
                return parse(item)


async def test_listeners_receive_what_a_talker_sends() -> None:
    async with (
        relay() as (_, _, url),
        member(url, Hello(Role.LISTEN, "a")) as (one, _),
        member(url, Hello(Role.BOTH, "a", "Bob", INFO)) as (two, _),
        member(url, Hello(Role.TALK, "a", "Ada", INFO)) as (ada, welcome),
    ):
        for sequence in range(5):
            await ada.send(serialize(Packet(Flags.VOICE, 0, sequence, 0, b"hello")))
        for listener in (one, two):
            heard = [await next_media(listener) for _ in range(5)]
            assert [p.sequence for p in heard] == [0, 1, 2, 3, 4]
            assert {p.stream for p in heard} == {welcome.stream}


async def publish(ada: ClientConnection, well: ClientConnection) -> None:
    """Ada sends a packet, and everybody who reads has received it on return."""
    await ada.send(serialize(Packet(Flags.VOICE, 0, 0, 0, bytes(1000))))
    assert len((await next_media(well)).payload) == 1000


@contextlib.asynccontextmanager
async def blocked_listener(
    running: Relay, url: str
) -> AsyncIterator[tuple[Mailbox, ClientConnection, ClientConnection]]:
    """A listener that reads nothing, with all buffers on the way to it full -> its mailbox, and a
    talker and a listener that go on.
    """
    async with (
        stuck_listener(running, url),
        member(url, Hello(Role.TALK, "a", "Ada", INFO)) as (ada, _),
        member(url, Hello(Role.LISTEN, "a")) as (well, _),
    ):
        mailbox = listeners(running)[0].mailbox
        while len(mailbox) < 100:  # fewer may fit into the kernel's buffers a moment later
            await publish(ada, well)
        yield mailbox, ada, well


async def test_a_listener_that_reads_nothing_delays_no_other_and_has_a_bounded_queue() -> None:
    limits = RoomLimits(max_queue_ms=50, too_slow_ms=1e9)
    async with relay(limits) as (running, clock, url), blocked_listener(running, url) as blocked:
        mailbox, ada, well = blocked
        for _ in range(300):
            clock.now_ms += 5.0
            await publish(ada, well)
        assert len(mailbox) == 11  # 0 to 50 ms old
        assert listeners(running)[1].mailbox.dropped == 0


async def test_a_listener_that_reads_nothing_is_cut_off() -> None:
    """Not even the close frame reaches it: the relay has to abort the connection."""
    limits = RoomLimits(max_queue_ms=20, too_slow_ms=50)
    async with relay(limits) as (running, clock, url), blocked_listener(running, url) as blocked:
        _, ada, well = blocked
        # Each time everything in its queue is dropped: after the second it is too slow, unless the
        # kernel has found room for more meanwhile.
        async with asyncio.timeout(PATIENCE_S):
            while len(listeners(running)) > 1:
                clock.now_ms += 51.0
                await publish(ada, well)
                await asyncio.sleep(0.01)


async def test_a_listener_that_reads_nothing_does_not_delay_the_shutdown() -> None:
    async with contextlib.AsyncExitStack() as ending, asyncio.timeout(PATIENCE_S):
        running, _, url = await ending.enter_async_context(relay())
        async with blocked_listener(running, url):
            await ending.aclose()
            assert not listeners(running)


async def test_media_that_waited_too_long_by_the_relays_clock_is_not_sent() -> None:
    async with (
        relay(RoomLimits(max_queue_ms=50)) as (running, clock, url),
        member(url, Hello(Role.TALK, "a", "Ada", INFO)) as (ada, _),
        member(url, Hello(Role.LISTEN, "a")) as (lis, _),
    ):
        clock.step_ms = 51.0  # that much passes between a packet's arrival and its sending
        await ada.send(serialize(Packet(Flags.VOICE, 0, 0, 0, b"late")))
        async with asyncio.timeout(PATIENCE_S):
            while not running.rooms.counters.dropped:
                await asyncio.sleep(0.01)
        clock.step_ms = 0.0
        await ada.send(serialize(Packet(Flags.VOICE, 0, 1, 0, b"in time")))
        assert (await next_media(lis)).payload == b"in time"


async def test_a_listener_that_reads_too_slowly_is_told_so() -> None:
    async with (
        relay(close_timeout_s=PATIENCE_S) as (running, _, url),
        member(url, Hello(Role.LISTEN, "a")) as (listener, _),
    ):
        running.rooms.overflowed |= set(listeners(running))
        async with member(url, Hello(Role.TALK, "a", "Ada", INFO)):  # the relay looks after joins
            assert await closing_code(listener) == (
                CloseCode.TOO_SLOW,
                "this listener reads too slowly",
            )


async def test_a_connection_that_was_replaced_is_cut() -> None:
    async with (
        relay() as (_, _, url),
        member(url, Hello(Role.TALK, "a", "Ada", INFO)) as (old, welcome),
        member(url, Hello(Role.TALK, "a", "Ada", INFO, resume=welcome.session)) as (new, again),
    ):
        assert again.stream == welcome.stream
        async with asyncio.timeout(PATIENCE_S):
            await old.wait_closed()
        assert old.close_code == 1006  # without a close handshake
        await new.send(serialize_message(Time(1.0)))
        assert isinstance(parse_message(str(await new.recv())), Time)


async def test_the_relay_answers_with_the_time_of_its_clock() -> None:
    async with (
        relay() as (_, clock, url),
        member(url, Hello(Role.LISTEN, "a")) as (listener, _),
    ):
        clock.now_ms = 1_234.5
        await listener.send(serialize_message(Time(5.0)))
        assert parse_message(str(await listener.recv())) == Time(5.0, 1_234.5)


@pytest.mark.parametrize(
    ("role", "sent", "code", "reason"),
    [
        (Role.TALK, b"\x20\0\0", CloseCode.MALFORMED, "need 12 header bytes, got 3"),
        (Role.TALK, b"\x30" + bytes(20), CloseCode.VERSION, "version 3: this program speaks 2"),
        (Role.TALK, bytes(5000), CloseCode.TOO_BIG, ""),
        (
            Role.TALK,
            b"\x20" + bytes(1300),
            CloseCode.MALFORMED,
            "payload of 1289 bytes: at most 1200",
        ),
        (Role.TALK, "{", CloseCode.MALFORMED, "no JSON"),
        (
            Role.LISTEN,
            serialize(Packet(Flags(0), 0, 0, 0, b"x")),
            CloseCode.POLICY_VIOLATION,
            "may not send media",
        ),
    ],
)
async def test_bad_input_ends_its_connection_with_a_reason_and_no_other(
    role: Role, sent: bytes | str, code: int, reason: str
) -> None:
    async with relay() as (_, _, url), member(url, Hello(Role.LISTEN, "a")) as (well, _):
        async with member(url, Hello(role, "a", "Mallory", INFO if role.talks else None)) as (
            bad,
            _,
        ):
            await bad.send(sent)
            got_code, got_reason = await closing_code(bad)
            assert got_code == code
            assert reason in got_reason
        async with member(url, Hello(Role.TALK, "a", "Ada", INFO)) as (ada, _):
            await ada.send(serialize(Packet(Flags(0), 0, 3, 0, b"still here")))
            assert (await next_media(well)).payload == b"still here"


@pytest.mark.parametrize(
    ("first", "code", "reason"),
    [
        (b"media", CloseCode.MALFORMED, "first message must be a hello"),
        ('{"type": "mute", "muted": true}', CloseCode.MALFORMED, "first message must be a hello"),
        (
            '{"type": "hello", "version": 9, "role": "talk", "room": "a"}',
            CloseCode.VERSION,
            "version 9: this program speaks 2",
        ),
        (
            '{"type": "hello", "version": 9, "place": "a"}',
            CloseCode.VERSION,
            "version 9: this program speaks 2",
        ),
        (
            '{"type": "hello", "version": 2, "role": "listen", "room": "cellar"}',
            CloseCode.NO_SUCH_ROOM,
            "no room cellar",
        ),
    ],
)
async def test_a_bad_hello_is_answered(first: bytes | str, code: int, reason: str) -> None:
    async with relay(RoomLimits(rooms=frozenset({"hall"}))) as (_, _, url):
        async with connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None) as connection:
            await connection.send(first)
            got_code, got_reason = await closing_code(connection)
    assert got_code == code
    assert reason in got_reason


async def test_a_client_that_says_no_hello_is_disconnected() -> None:
    async with (
        relay(hello_timeout_s=0.01) as (_, _, url),
        connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None) as connection,
    ):
        assert await closing_code(connection) == (
            CloseCode.POLICY_VIOLATION,
            "no hello within 0.01 s",
        )


@pytest.mark.parametrize("other", ["streamcodec.v1", "streamcodec.v20", None])
async def test_another_subprotocol_is_refused_with_the_right_one(other: str | None) -> None:
    async with relay() as (_, _, url):
        with pytest.raises(InvalidStatus) as refused:
            async with connect(
                url, subprotocols=[Subprotocol(other)] if other else None, proxy=None
            ):
                pass
    assert refused.value.response.status_code == 426
    assert b"streamcodec.v2" in (refused.value.response.body or b"")


async def test_health_counts_rooms_and_members() -> None:
    async with relay() as (_, _, url), member(url, Hello(Role.BOTH, "a", "Ada", INFO)):
        address = url.replace("ws", "http") + "/healthz"
        with await asyncio.to_thread(urllib.request.urlopen, address) as answer:
            health = json.load(answer)
    assert health == {
        "status": "ok",
        "rooms": 1,
        "talkers": 1,
        "listeners": 1,
        "packets_in": 0,
        "packets_out": 0,
        "bytes_in": 0,
        "bytes_out": 0,
        "dropped": 0,
        "refused": 0,
    }


async def test_a_relay_that_shuts_down_asks_clients_to_come_back() -> None:
    async with relay() as (_, _, url):
        connection = await connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None)
        await connection.send(serialize_message(Hello(Role.LISTEN, "a")))
        await connection.recv()
    assert (await closing_code(connection))[0] == CloseCode.SERVICE_RESTART


async def test_a_refusal_fits_in_a_message_even_if_there_are_many_rooms() -> None:
    async with relay(RoomLimits(rooms=frozenset(f"{n:064}" for n in range(100)))) as (_, _, url):
        async with connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None) as connection:
            await connection.send(serialize_message(Hello(Role.LISTEN, "cellar")))
            assert (await closing_code(connection))[0] == CloseCode.NO_SUCH_ROOM
