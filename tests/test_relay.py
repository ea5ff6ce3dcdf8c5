"""The relay over real sockets on loopback."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from streamcodec.errors import ConfigError
from streamcodec.wire.message_json import parse_message, serialize_message
from streamcodec.wire.packet import Flags, Packet, parse, serialize
from streamcodec.wire.session import (
    SUBPROTOCOL,
    CloseCode,
    Hello,
    Role,
    StreamInfo,
    Welcome,
)
from streamcodec_server.relay import Relay, RelayConfig
from streamcodec_server.rooms import Member, RoomLimits
from streamcodec_server.serve import serve

INFO = StreamInfo("0123456789abcdef", 16_000, 1, 320, 1, 5, 6_000)
PATIENCE_S = 10
# the relay cuts after 2 s; its keepalive, due after 10 s, would hide that it did not
BEFORE_KEEPALIVE_S = 7


@contextlib.asynccontextmanager
async def relay(limits: RoomLimits | None = None) -> AsyncIterator[tuple[Relay, str]]:
    running = Relay(RelayConfig(port=0, limits=limits or RoomLimits()))
    async with running.running() as server:
        yield running, f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


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
    """Joins room a, reads the handshake, and nothing more: no library would do that."""
    host, _, port = url.removeprefix("ws://").rpartition(":")
    loop = asyncio.get_running_loop()
    with socket.socket() as plug:
        # before it connects, or the window is large already
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plug.setblocking(False)
        await loop.sock_connect(plug, (host, int(port)))
        await loop.sock_sendall(
            plug,
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: streamcodec.v1\r\n\r\n",
        )
        assert b"101" in await loop.sock_recv(plug, 64)
        before = len(listeners(running))
        hello = serialize_message(Hello(Role.LISTEN, "a")).encode()
        await loop.sock_sendall(plug, bytes([0x81, 0x80 | len(hello)]) + bytes(4) + hello)
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


async def test_what_a_talker_sends_its_listeners_hear() -> None:
    async with (
        relay() as (_, url),
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


async def test_a_listener_that_never_reads_holds_up_nobody_and_costs_bounded_memory() -> None:
    limits = RoomLimits(max_queue_ms=50, too_slow_ms=1e9)
    async with (
        relay(limits) as (running, url),
        member(url, Hello(Role.TALK, "a", "Ada", INFO)) as (ada, _),
    ):
        async with stuck_listener(running, url), member(url, Hello(Role.LISTEN, "a")) as (well, _):
            for sequence in range(600):
                await ada.send(serialize(Packet(Flags.VOICE, 0, sequence, 0, bytes(1000))))
                assert (await next_media(well)).sequence == sequence
                if sequence % 100 == 99:
                    # longer than the queue may be old: what is stuck must now be dropped
                    await asyncio.sleep(0.06)
            boxes = [m.mailbox for m in listeners(running)]
            assert max(box.dropped for box in boxes) > 0
            assert max(len(box) for box in boxes) < 300


async def test_one_that_never_reads_is_cut_off() -> None:
    """Its close frame cannot get through either."""
    limits = RoomLimits(max_queue_ms=20, too_slow_ms=50)
    async with (
        relay(limits) as (running, url),
        member(url, Hello(Role.TALK, "a", "Ada", INFO)) as (ada, _),
    ):
        async with stuck_listener(running, url), asyncio.timeout(BEFORE_KEEPALIVE_S):
            while listeners(running):
                await ada.send(serialize(Packet(Flags.VOICE, 0, 0, 0, bytes(1000))))
                await asyncio.sleep(0.001)


async def test_one_that_never_reads_does_not_hold_up_the_end() -> None:
    """Without the cut the end waits for the keepalive, whose first ping is due after 10 s."""
    async with contextlib.AsyncExitStack() as ending, asyncio.timeout(BEFORE_KEEPALIVE_S):
        running, url = await ending.enter_async_context(
            relay(RoomLimits(max_queue_ms=20, too_slow_ms=1e9))
        )
        async with (
            stuck_listener(running, url),
            member(url, Hello(Role.TALK, "a", "Ada", INFO)) as (ada, _),
        ):
            mailbox = listeners(running)[0].mailbox
            while not mailbox.dropped:
                await ada.send(serialize(Packet(Flags.VOICE, 0, 0, 0, bytes(1000))))
                await asyncio.sleep(0.001)
            await ending.aclose()
            assert not listeners(running)


async def test_a_too_slow_listener_is_sent_away_with_its_code() -> None:
    async with relay(RoomLimits(max_queue_ms=20, too_slow_ms=0)) as (running, url):
        async with member(url, Hello(Role.LISTEN, "a")) as (listener, _):
            room = running.rooms.rooms["a"]
            slow = next(iter(room.members))
            running.rooms.overflowed.add(slow)
            async with member(url, Hello(Role.TALK, "a", "Ada", INFO)) as (ada, _):
                await ada.send(serialize(Packet(Flags.VOICE, 0, 0, 0, b"x")))
                assert (await closing_code(listener))[0] == CloseCode.TOO_SLOW


@pytest.mark.parametrize(
    ("role", "sent", "code", "reason"),
    [
        (Role.TALK, b"\x10\0\0", CloseCode.MALFORMED, "need 12 header bytes, got 3"),
        (Role.TALK, b"\x30" + bytes(20), CloseCode.VERSION, "version 3: this program speaks 1"),
        (Role.TALK, bytes(5000), CloseCode.TOO_BIG, ""),
        (
            Role.TALK,
            b"\x10" + bytes(1300),
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
    async with relay() as (_, url), member(url, Hello(Role.LISTEN, "a")) as (well, _):
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
            "version 9: this program speaks 1",
        ),
        (
            '{"type": "hello", "version": 9, "place": "a"}',
            CloseCode.VERSION,
            "version 9: this program speaks 1",
        ),
        (
            '{"type": "hello", "version": 1, "role": "listen", "room": "cellar"}',
            CloseCode.NO_SUCH_ROOM,
            "no room cellar",
        ),
    ],
)
async def test_a_bad_hello_is_answered(first: bytes | str, code: int, reason: str) -> None:
    async with relay(RoomLimits(rooms=frozenset({"hall"}))) as (_, url):
        async with connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None) as connection:
            await connection.send(first)
            got_code, got_reason = await closing_code(connection)
    assert got_code == code
    assert reason in got_reason


async def test_one_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamcodec_server.relay.HELLO_TIMEOUT_S", 0.01)
    async with (
        relay() as (_, url),
        connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None) as connection,
    ):
        assert await closing_code(connection) == (
            CloseCode.POLICY_VIOLATION,
            "no hello within 0.01 s",
        )


@pytest.mark.parametrize("other", ["streamcodec.v9", "streamcodec.v10", None])
async def test_another_subprotocol_is_refused_with_the_right_one(other: str | None) -> None:
    async with relay() as (_, url):
        with pytest.raises(InvalidStatus) as refused:
            async with connect(
                url, subprotocols=[Subprotocol(other)] if other else None, proxy=None
            ):
                pass
    assert refused.value.response.status_code == 426
    assert b"streamcodec.v1" in (refused.value.response.body or b"")


async def test_health_tells_rooms_and_people() -> None:
    async with relay() as (_, url), member(url, Hello(Role.BOTH, "a", "Ada", INFO)):
        address = url.replace("ws", "http") + "/healthz"
        with await asyncio.to_thread(urllib.request.urlopen, address) as answer:
            health = json.load(answer)
    assert (health["status"], health["rooms"], health["talkers"], health["listeners"]) == (
        "ok",
        1,
        1,
        1,
    )


async def test_the_end_of_the_relay_asks_everybody_to_come_back() -> None:
    async with relay() as (_, url):
        connection = await connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None)
        await connection.send(serialize_message(Hello(Role.LISTEN, "a")))
        await connection.recv()
    assert (await closing_code(connection))[0] == CloseCode.SERVICE_RESTART


def test_the_relay_loads_neither_torch_nor_numpy() -> None:
    program = "import sys, streamcodec_server.serve, streamcodec_client.cli; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=_environment(),
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--port", "70000"], "port must be 0 to 65535, got 70000"),
        (["--max-queue-ms", "5"], "max queue must be 20 to 10000 ms, got 5"),
        (["--max-talkers", "0"], "max talkers must be 1 to 128, got 0"),
        (["--rooms", " , "], "the list of rooms is empty"),
    ],
)
def test_a_setting_out_of_range_is_named(arguments: list[str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        serve.main(arguments, standalone_mode=False)


def test_no_host_is_not_every_host() -> None:
    with pytest.raises(
        ConfigError, match="host must not be empty: 0.0.0.0 listens on all addresses"
    ):
        RelayConfig(host="")


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
async def test_a_host_that_is_no_name_is_one_line(host: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot listen on {host}:0: that is no host name"):
        async with Relay(RelayConfig(host, 0)).running():
            pass


async def test_a_refusal_fits_in_a_message_however_many_rooms_there_are() -> None:
    async with relay(RoomLimits(rooms=frozenset(f"{n:064}" for n in range(100)))) as (_, url):
        async with connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None) as connection:
            await connection.send(serialize_message(Hello(Role.LISTEN, "cellar")))
            assert (await closing_code(connection))[0] == CloseCode.NO_SUCH_ROOM


def test_a_port_in_use_is_one_line_and_status_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            _serve("--port", port), capture_output=True, text=True, env=_environment(), timeout=30
        )
    assert done.returncode == 2
    assert done.stderr.startswith(f"streamcodec: cannot listen on 127.0.0.1:{port}:")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_in_good_order(number: signal.Signals) -> None:
    process = subprocess.Popen(
        _serve("--port", "0"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(),
    )
    assert process.stdout is not None
    assert "relay listening on ws://127.0.0.1:" in process.stdout.readline()
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")


def _serve(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "streamcodec_client", "serve", *arguments]


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
