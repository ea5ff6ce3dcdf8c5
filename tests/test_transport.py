"""The connection to a relay that answers, dies, comes back, refuses. A small websockets server
stands for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from fakes import WAIT_S, fake_info
from streamcodec.errors import ConfigError, ConnectionRefused
from streamcodec.wire.message_json import parse_message, serialize_message
from streamcodec.wire.overhead import wire_bytes
from streamcodec.wire.session import (
    SUBPROTOCOL,
    CloseCode,
    Error,
    Hello,
    Message,
    Mute,
    Role,
    StreamStart,
    Welcome,
)
from streamcodec_client.clock import MonotonicClock
from streamcodec_client.transport import attempts, heartbeat
from streamcodec_client.transport import relay as transport
from streamcodec_client.transport.relay import RelayTransport
from streamcodec_client.transport.url import check_url

HELLO = Hello(Role.TALK, "lobby", "anna", fake_info())
WELCOME = Welcome("session", "lobby", 1, (StreamStart(2, "bert", fake_info()),), 2, 0)


class StandInRelay:
    """Welcomes everybody unless told what to do instead; keeps what it receives."""

    def __init__(self, subprotocol: str | None = SUBPROTOCOL) -> None:
        self.port = 0
        self.received: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.endings: asyncio.Queue[int] = asyncio.Queue()
        self.refusals: list[tuple[Error | None, int]] = []
        self.silences = 0  # so many of those who come next are not answered
        self.connection: ServerConnection | None = None
        self._subprotocols = [Subprotocol(subprotocol)] if subprotocol else None
        self._server: Server | None = None

    async def start(self, **settings: Any) -> None:
        self._server = await serve(
            self._meet, "127.0.0.1", self.port, subprotocols=self._subprotocols, **settings
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def die(self) -> None:
        """As a killed process would: sockets are closed and nobody is told."""
        assert self._server is not None
        for connection in self._server.connections:
            connection.transport.abort()
        self._server.close()
        await self._server.wait_closed()

    async def _meet(self, connection: ServerConnection) -> None:
        try:
            self.received.put_nowait(await connection.recv())
            if self.silences:
                self.silences -= 1
                await connection.wait_closed()
                return
            if self.refusals:
                message, code = self.refusals.pop(0)
                if message is not None:
                    await connection.send(serialize_message(message))
                await connection.close(code)
                return
            await connection.send(serialize_message(WELCOME))
            self.connection = connection
            async for frame in connection:
                self.received.put_nowait(frame)
            self.endings.put_nowait(connection.close_code or 0)
        except ConnectionClosed:
            pass  # it died in the middle of a frame: that is what these tests are about


class Diary:
    """A TransportListener that writes down what happens."""

    def __init__(self) -> None:
        self.entries: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    def connected(self, welcome: Welcome, connection: int) -> None:
        self.entries.put_nowait(("connected", connection))

    def disconnected(self, reason: str) -> None:
        self.entries.put_nowait(("disconnected", reason))

    def media(self, datagram: bytes, received_ns: int) -> None:
        self.entries.put_nowait(("media", datagram))

    def message(self, message: Message) -> None:
        self.entries.put_nowait(("message", message))

    async def next(self) -> tuple[str, Any]:
        async with asyncio.timeout(WAIT_S):
            return await self.entries.get()


@contextlib.asynccontextmanager
async def standing_in(relay: StandInRelay, **settings: Any) -> AsyncIterator[StandInRelay]:
    await relay.start(**settings)
    try:
        yield relay
    finally:
        await relay.die()


@pytest.fixture
async def relay() -> AsyncIterator[StandInRelay]:
    async with standing_in(StandInRelay()) as stand_in:
        yield stand_in


class Client:
    """A transport that runs beside the test."""

    def __init__(self, relay: StandInRelay | Forwarder, first_connection_s: float = 10.0) -> None:
        self.diary = Diary()
        self.transport = RelayTransport(
            f"ws://127.0.0.1:{relay.port}",
            HELLO,
            [self.diary],
            MonotonicClock(),
            first_connection_s=first_connection_s,
            jitter=lambda: 0.0,
        )
        self.running = asyncio.ensure_future(self.transport.run())

    async def ends(self) -> None:
        async with asyncio.timeout(WAIT_S):
            await self.running


async def test_hello_is_said_and_the_welcome_is_told(relay: StandInRelay) -> None:
    client = Client(relay)
    assert await client.diary.next() == ("connected", 1)
    frame = await relay.received.get()
    assert isinstance(frame, str)
    assert parse_message(frame) == HELLO
    assert client.transport.connection == 1
    client.transport.close()
    await client.ends()


async def test_media_and_messages_go_both_ways(relay: StandInRelay) -> None:
    client = Client(relay)
    await client.diary.next()
    await relay.received.get()
    assert await client.transport.send(b"packet")
    assert await client.transport.send_message(Mute(True))
    assert await relay.received.get() == b"packet"
    assert await relay.received.get() == serialize_message(Mute(True))
    assert relay.connection is not None
    await relay.connection.send(b"media")
    await relay.connection.send(serialize_message(Mute(True, 2)))
    assert await client.diary.next() == ("media", b"media")
    assert await client.diary.next() == ("message", Mute(True, 2))
    client.transport.close()
    await client.ends()


async def test_messages_that_we_do_not_understand_are_ignored(relay: StandInRelay) -> None:
    client = Client(relay)
    await client.diary.next()
    assert relay.connection is not None
    for text in ('{"type": "from the future"}', "no JSON", '{"type": "stream_end"}'):
        await relay.connection.send(text)
    await relay.connection.send(b"still here")
    assert await client.diary.next() == ("media", b"still here")
    client.transport.close()
    await client.ends()


async def test_goodbye_is_a_normal_close(relay: StandInRelay) -> None:
    client = Client(relay)
    await client.diary.next()
    client.transport.close()
    await client.ends()
    async with asyncio.timeout(WAIT_S):
        assert await relay.endings.get() == CloseCode.NORMAL
    assert client.transport.connection is None
    assert not await client.transport.send(b"too late")


async def test_a_relay_that_dies_is_reconnected_to_and_nothing_is_replayed(
    relay: StandInRelay,
) -> None:
    client = Client(relay)
    assert await client.diary.next() == ("connected", 1)
    await relay.received.get()
    await relay.die()
    assert (await client.diary.next())[0] == "disconnected"
    assert client.transport.connection is None
    assert not await client.transport.send(b"stale")
    await relay.start()
    assert await client.diary.next() == ("connected", 2)
    assert await client.transport.send(b"fresh")
    hello = await relay.received.get()
    assert isinstance(hello, str)
    assert parse_message(hello) == dataclasses.replace(HELLO, resume="session")
    assert await relay.received.get() == b"fresh"
    client.transport.close()
    await client.ends()


async def test_a_session_that_goes_on_sends_at_once(relay: StandInRelay) -> None:
    """The welcome would be a round trip more of silence."""
    client = Client(relay)
    assert await client.diary.next() == ("connected", 1)
    await relay.received.get()
    relay.silences = 1
    assert relay.connection is not None
    relay.connection.transport.abort()
    assert (await client.diary.next())[0] == "disconnected"
    hello = await relay.received.get()
    assert isinstance(hello, str)
    assert parse_message(hello) == dataclasses.replace(HELLO, resume="session")
    async with asyncio.timeout(WAIT_S):
        while client.transport.connection is None:
            await asyncio.sleep(0.001)
    assert client.transport.connection == 2
    assert await client.transport.send(b"before the welcome")
    # That relay says nothing: the next connection has a number of its own, so that encoders begin
    # anew with it.
    assert await client.diary.next() == ("connected", 3)
    client.transport.close()
    await client.ends()


class Forwarder:
    """Between client and relay: while it hangs, its connections pass nothing on, and new ones are
    let through.
    """

    def __init__(self, relay: StandInRelay) -> None:
        self._relay = relay
        self.port = 0
        self.opened = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._hanging: set[int] = set()
        self._released = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def hang(self) -> None:
        self._hanging |= set(range(self.opened))

    def release(self) -> None:
        self._released.set()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._released.set()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.opened = self.opened, self.opened + 1
        there, back = await asyncio.open_connection("127.0.0.1", self._relay.port)
        self._writers += [writer, back]
        await asyncio.gather(self._pipe(number, reader, back), self._pipe(number, there, writer))

    async def _pipe(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                if number in self._hanging:
                    await self._released.wait()
                writer.write(data)
            writer.close()


@pytest.fixture
async def forwarder(relay: StandInRelay) -> AsyncIterator[Forwarder]:
    between = Forwarder(relay)
    await between.start()
    yield between
    await between.stop()


@pytest.fixture
def soon_suspected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence of a tenth of a second is suspect."""
    monkeypatch.setattr(heartbeat, "INTERVAL_S", 0.01)
    monkeypatch.setattr(transport, "SUSPECT_S", 0.1)


class HangingAttempts:
    """In place of RelayTransport._open: no other connection comes about."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def open(self, reached: Callable[[], None]) -> None:
        self.begun.set()
        await asyncio.Event().wait()


async def test_a_connection_that_hangs_is_left_for_another(
    relay: StandInRelay, forwarder: Forwarder, soon_suspected: None
) -> None:
    client = Client(forwarder)
    assert await client.diary.next() == ("connected", 1)
    await relay.received.get()
    forwarder.hang()
    assert (await client.diary.next())[0] == "disconnected"
    assert await client.diary.next() == ("connected", 2)
    hello = await relay.received.get()
    assert isinstance(hello, str)
    assert parse_message(hello) == dataclasses.replace(HELLO, resume="session")
    client.transport.close()
    await client.ends()


async def test_a_connection_that_speaks_again_is_kept(
    relay: StandInRelay, forwarder: Forwarder, soon_suspected: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = HangingAttempts()
    client = Client(forwarder)
    assert await client.diary.next() == ("connected", 1)
    monkeypatch.setattr(client.transport, "_open", others.open)
    forwarder.hang()
    await others.begun.wait()
    forwarder.release()
    assert relay.connection is not None
    await relay.connection.send(b"still here")
    assert await client.diary.next() == ("media", b"still here")
    assert client.transport.connection == 1
    client.transport.close()
    await client.ends()


async def test_a_connection_that_stays_silent_is_given_up(
    relay: StandInRelay, forwarder: Forwarder, soon_suspected: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "DEAD_S", 0.3)
    client = Client(forwarder)
    await client.diary.next()
    monkeypatch.setattr(client.transport, "_open", HangingAttempts().open)
    forwarder.hang()
    assert await client.diary.next() == ("disconnected", "the connection broke")
    client.transport.close()
    await client.ends()


async def test_an_attempt_that_hangs_does_not_hold_up_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempts, "STAGGER_S", 0.01)
    began: list[asyncio.Event] = []
    cancelled = asyncio.Event()

    async def attempt(reached: Callable[[], None]) -> str:
        began.append(asyncio.Event())
        if len(began) < 3:
            try:
                await asyncio.Event().wait()  # a SYN that was lost
            finally:
                cancelled.set()
        return f"attempt {len(began)}"

    assert await attempts.first_of(attempt) == "attempt 3"  # type: ignore[arg-type, comparison-overlap]
    await asyncio.sleep(0)
    assert cancelled.is_set()


async def test_refusals_beside_attempts_that_hang_do_not_hurry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempts, "STAGGER_S", 0.05)
    began: list[float] = []

    async def attempt(reached: Callable[[], None]) -> str:
        began.append(asyncio.get_running_loop().time())
        if len(began) in (1, 2):
            await asyncio.Event().wait()
        if len(began) < 6:
            raise ConnectionRefusedError("not yet")
        return "open"

    assert await attempts.first_of(attempt) == "open"  # type: ignore[arg-type, comparison-overlap]
    assert np.diff(began).min() > 0.03


async def test_a_relay_that_is_reached_and_slow_is_not_crowded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempts, "STAGGER_S", 0.01)
    monkeypatch.setattr(attempts, "REACHED_S", 0.2)
    began: list[float] = []

    async def attempt(reached: Callable[[], None]) -> str:
        began.append(asyncio.get_running_loop().time())
        if len(began) < 4:
            if len(began) == 2:
                reached()
            await asyncio.Event().wait()
        return "open"

    assert await attempts.first_of(attempt) == "open"  # type: ignore[arg-type, comparison-overlap]
    apart = np.diff(began)
    assert apart[1] > 0.15 > 0.1 > max(apart[0], apart[2])


async def test_as_many_attempts_as_may_hang_are_waited_for_in_peace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempts, "STAGGER_S", 0.02)
    monkeypatch.setattr(attempts, "MOST_ATTEMPTS", 2)
    looks = 0
    wait = asyncio.wait

    async def counted(*args: Any, **settings: Any) -> Any:
        nonlocal looks
        looks += 1
        return await wait(*args, **settings)

    async def attempt(reached: Callable[[], None]) -> str:
        await asyncio.Event().wait()
        return "never"

    monkeypatch.setattr(asyncio, "wait", counted)
    search = asyncio.ensure_future(attempts.first_of(attempt))  # type: ignore[arg-type]
    await asyncio.sleep(0.2)
    search.cancel()
    assert 2 <= looks <= 12


async def test_a_search_that_nobody_answers_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is the back-off's turn, and that of whoever gives up."""
    monkeypatch.setattr(attempts, "STAGGER_S", 0.01)
    began = 0

    async def attempt(reached: Callable[[], None]) -> str:
        nonlocal began
        began += 1
        await asyncio.sleep(0.05)
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await attempts.first_of(attempt)  # type: ignore[arg-type]
    assert began <= 7


async def test_a_host_that_never_answers_is_named(
    relay: StandInRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(relay, first_connection_s=0.05)

    async def silent(reached: Callable[[], None]) -> None:
        await asyncio.sleep(0.03)
        raise TimeoutError

    monkeypatch.setattr(client.transport, "_open", silent)
    with pytest.raises(ConnectionRefused, match="no relay at .*: no answer"):
        await client.ends()


async def test_a_relay_that_lets_us_in_no_more_is_left_soon(
    relay: StandInRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path broke between the handshake and the welcome."""
    monkeypatch.setattr(transport, "WELCOME_AGAIN_S", 0.05)
    client = Client(relay)
    assert (await client.diary.next())[0] == "connected"
    assert relay.connection is not None
    relay.silences = 2
    relay.connection.transport.abort()
    assert (await client.diary.next())[0] == "disconnected"
    assert await client.diary.next() == ("connected", 4)  # those of no welcome have numbers too
    assert relay.silences == 0
    client.transport.close()
    await client.ends()


async def test_a_connection_that_opens_as_the_search_is_called_off_is_closed() -> None:
    opened = asyncio.Event()
    aborted = asyncio.Event()

    class Opened:
        class transport:  # noqa: N801
            abort = staticmethod(aborted.set)

    async def attempt(reached: Callable[[], None]) -> Opened:
        with contextlib.suppress(asyncio.CancelledError):
            await opened.wait()
        return Opened()

    search = asyncio.ensure_future(attempts.first_of(attempt))  # type: ignore[arg-type]
    await asyncio.sleep(0.01)
    search.cancel()
    async with asyncio.timeout(WAIT_S):
        await aborted.wait()
    assert search.cancelled()


async def test_a_refusal_is_told_when_no_attempt_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "STAGGER_S", 10)

    async def attempt(reached: Callable[[], None]) -> str:
        raise ConnectionRefusedError("nobody here")

    with pytest.raises(ConnectionRefusedError, match="nobody here"):
        await attempts.first_of(attempt)  # type: ignore[arg-type]


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
    client = Client(relay)
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
    client = Client(relay)
    assert await client.diary.next() == ("connected", 1)
    assert relay.received.qsize() == 2
    client.transport.close()
    await client.ends()


async def test_a_session_that_the_relay_ends_is_over(relay: StandInRelay) -> None:
    client = Client(relay)
    await client.diary.next()
    assert relay.connection is not None
    await relay.connection.close(CloseCode.NORMAL)
    await client.ends()


async def test_a_final_close_in_mid_session_says_why(relay: StandInRelay) -> None:
    client = Client(relay)
    await client.diary.next()
    assert relay.connection is not None
    await relay.connection.send(
        serialize_message(Error(CloseCode.MALFORMED, "need 12 header bytes, got 3"))
    )
    await relay.connection.close(CloseCode.MALFORMED)
    with pytest.raises(ConnectionRefused, match="need 12 header bytes, got 3"):
        await client.ends()


async def test_no_relay_at_all_is_named(relay: StandInRelay) -> None:
    await relay.die()
    client = Client(relay, first_connection_s=0.0)
    with pytest.raises(
        ConnectionRefused, match=f"no relay at ws://127.0.0.1:{relay.port}: connection refused"
    ):
        await client.ends()
    await relay.start()


async def test_closing_ends_the_search_for_a_relay(relay: StandInRelay) -> None:
    await relay.die()
    client = Client(relay, first_connection_s=1e6)
    await asyncio.sleep(0)
    client.transport.close()
    await client.ends()
    await relay.start()


@pytest.mark.parametrize(
    ("spoken", "said"),
    [(None, r"does not speak streamcodec\.v1"), ("chat.v9", "HTTP 400: is it a")],
)
async def test_a_server_of_another_protocol_is_refused(spoken: str | None, said: str) -> None:
    async with standing_in(StandInRelay(spoken)) as other:
        with pytest.raises(ConnectionRefused, match=said):
            await Client(other).ends()


async def test_a_web_server_is_refused() -> None:
    def not_found(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(HTTPStatus.NOT_FOUND, "nothing here\n")

    async with standing_in(StandInRelay(), process_request=not_found) as web:
        with pytest.raises(ConnectionRefused, match="HTTP 404: is it a streamcodec relay"):
            await Client(web).ends()


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8765", "http://relay", "ws://", "ws://host:99999", "ws://[::1"]
)
def test_a_url_that_names_no_relay_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="must be ws://HOST:PORT or wss://HOST:PORT"):
        check_url(url)


def test_wire_bytes() -> None:
    """TCP/IP 52, frame 2 and mask 4, header 12; a longer length field from 126 bytes on; TLS 22."""
    assert wire_bytes(15, to_relay=True, tls=False) == 52 + 6 + 12 + 15
    assert wire_bytes(15, to_relay=False, tls=False) == 52 + 2 + 12 + 15
    assert wire_bytes(113, to_relay=False, tls=False) == 52 + 2 + 125
    assert wire_bytes(114, to_relay=False, tls=True) == 52 + 22 + 4 + 126


async def test_what_a_dropped_connection_held_is_not_repeated() -> None:
    """After a mere abort the kernel would deliver a second of old words once the network is back: a
    reset takes them away.
    """
    endings: asyncio.Queue[BaseException | bytes] = asyncio.Queue()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            endings.put_nowait(await reader.read())
        except OSError as error:
            endings.put_nowait(error)
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        opened, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, "127.0.0.1", port
        )
        attempts.drop(SimpleNamespace(transport=opened))  # type: ignore[arg-type]
        async with asyncio.timeout(WAIT_S):
            assert isinstance(await endings.get(), ConnectionResetError)
