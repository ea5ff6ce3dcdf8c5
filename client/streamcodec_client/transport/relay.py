"""The websocket to the relay: says hello, passes on what comes, and carries out what a Reconnect
decides. It buffers no media.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from streamcodec.errors import MalformedMessage, MalformedPacket
from streamcodec.live.reconnect import Reconnect
from streamcodec.live.reconnect_events import (
    Abandon,
    Attempt,
    CloseAsked,
    Closed,
    Drop,
    End,
    Event,
    Failed,
    Heard,
    HelloSent,
    NotifyDisconnected,
    NotifyRetrying,
    Opened,
    Probe,
    ProbeAnswered,
    Reached,
    SayGoodbye,
    SayHello,
    Tick,
    Welcomed,
)
from streamcodec.live.reconnect_timing import Timing
from streamcodec.wire.message_json import parse_message, serialize_message
from streamcodec.wire.session import Error, Hello, Message, Welcome
from streamcodec.wire.short_headers import Restorer, Shortener

from ..clock import Clock
from .api import TransportListener
from .heartbeat import beat, pong_arrives
from .opening import (
    Opener,
    abandon,
    drop,
    limit_send_buffer,
    route_to,
    websocket_opener,
)

# On a stalled link the kernel's default buffer accepts minutes of audio before `send` waits (79,025
# packets of 50 B, measured).
SEND_BUFFER_BYTES = 8192

Result = TypeVar("Result")
_SYSTEM_RANDOM = secrets.SystemRandom()


class RelayTransport:
    """A Transport over websockets. `run` connects, and connects again, until `close`."""

    def __init__(
        self,
        url: str,
        hello: Hello,
        listeners: Sequence[TransportListener],
        clock: Clock,
        *,
        ca: Path | None = None,
        retrying: Callable[[str], None] = lambda reason: None,
        first_connection_s: float = 10.0,
        jitter: Callable[[], float] = _SYSTEM_RANDOM.random,
        timing: Timing | None = None,
        opener: Opener | None = None,
    ) -> None:
        """`ca`: see `route_to`, whose ConfigError is raised. `retrying`: is told, once and at each
        change, why there is no connection while others are tried. `first_connection_s`: how long to
        look for a relay that never let us in. `jitter` (0..1) spreads back-offs.
        """
        route = route_to(url, ca)
        self.tls = route.tls is not None
        timing = timing or Timing()
        if route.proxy is not None:
            # Whether an attempt has reached the proxy cannot be told: none beside each other.
            timing = dataclasses.replace(timing, silent_attempt_s=timing.attempt_s)
        self._retrying = retrying
        self._hello, self._listeners, self._clock = hello, listeners, clock
        self._ping_s = timing.ping_s
        self._open = opener or websocket_opener(url, timing, route)
        self._reconnect = Reconnect(
            self._now_s(),
            relay=url,
            talks=hello.role.talks,
            first_connection_s=first_connection_s,
            jitter=jitter,
            timing=timing,
        )
        self._close_asked = False
        self._wakes_s = math.inf  # until when `run` waits
        self._woken = asyncio.Event()  # ends that wait early
        self._end: End | None = None
        self._attempts: set[asyncio.Task[ClientConnection | Failed]] = set()
        # The connection in use, from its hello on, and the tasks whose results are its events.
        self._socket: ClientConnection | None = None
        self._connection_tasks: set[asyncio.Task[Event]] = set()
        self._shortener = Shortener()  # of that connection

    @property
    def connection(self) -> int | None:
        return self._reconnect.connection

    async def run(self) -> None:
        """Returns after `close`, or when the relay ends the session with 1000. Raises
        ConnectionRefused where trying again is useless, or no relay let us in for
        `first_connection_s`. To be called once.
        """
        woken = asyncio.ensure_future(self._woken.wait())
        try:
            while self._end is None:
                self._woken.clear()
                if woken.done():
                    woken = asyncio.ensure_future(self._woken.wait())
                if self._close_asked:
                    self._apply(CloseAsked())
                self._apply(Tick())
                self._wakes_s = self._reconnect.wake_s
                await self._next({woken, *self._connection_tasks, *self._attempts})
        finally:
            self._abandon_attempts()
            for task in (woken, *self._connection_tasks):
                task.cancel()
            await asyncio.gather(woken, *self._connection_tasks, return_exceptions=True)
            if self._socket is not None:  # this was cancelled, or a listener failed
                await self._socket.close()
                self._apply(Closed())
        if self._end.refusal is not None:
            raise self._end.refusal

    def close(self) -> None:
        """`run` says goodbye with 1000 and returns."""
        self._close_asked = True
        self._woken.set()

    async def send(self, datagram: bytes) -> int:
        if self._socket is None or self.connection is None:
            return 0
        message = self._shortener.shorten(datagram)
        return len(message) if await self._write(message) else 0

    async def send_message(self, message: Message) -> bool:
        return await self._write(serialize_message(message))

    async def _write(self, frame: bytes | str) -> bool:
        if self._socket is None or self.connection is None:
            return False
        try:
            await self._socket.send(frame)
        except ConnectionClosed:
            return False
        return True

    def _now_s(self) -> float:
        return self._clock.now_ns() / 1e9

    async def _next(self, tasks: set[asyncio.Future[Any]]) -> None:
        """Waits until something happens or is due."""
        never = self._wakes_s == math.inf
        left_s = None if never else max(0.0, self._wakes_s - self._now_s())
        done, _ = await asyncio.wait(tasks, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        # Attempts come last: a connection that has answered is kept.
        for event in _results(self._connection_tasks, done):
            self._apply(event)
        for result in _results(self._attempts, done):
            if isinstance(result, Failed):
                self._apply(result)
            else:
                self._apply(Opened(), result)

    def _apply(self, event: Event, opened: ClientConnection | None = None) -> None:
        """Tells the Reconnect of an event and carries out its decisions. `opened`: the connection
        that an Opened is about.
        """
        for decision in self._reconnect.on(event, self._now_s()):
            match decision:
                case Attempt():
                    self._attempts.add(asyncio.ensure_future(self._attempt()))
                case Abandon():
                    self._abandon_attempts()
                case SayHello():
                    assert opened is not None
                    self._socket, self._shortener = opened, Shortener()
                    self._connection_tasks.add(asyncio.ensure_future(self._converse(opened)))
                case Probe():
                    self._connection_tasks.add(asyncio.ensure_future(self._probe()))
                case SayGoodbye():
                    self._connection_tasks.add(asyncio.ensure_future(self._say_goodbye()))
                case Drop():
                    self._drop()
                case NotifyDisconnected(reason):
                    for listener in self._listeners:
                        listener.disconnected(reason)
                case NotifyRetrying(reason):
                    self._retrying(reason)
                case End():
                    self._end = decision
                    self._woken.set()
        if self._reconnect.wake_s < self._wakes_s:
            self._woken.set()

    def _abandon_attempts(self) -> None:
        for attempt in self._attempts:
            abandon(attempt)
        self._attempts.clear()

    def _drop(self) -> None:
        assert self._socket is not None
        drop(self._socket)
        self._socket = None
        for task in self._connection_tasks:
            task.cancel()
        self._connection_tasks.clear()

    # --- tasks whose results are events ---------------------------------------------------------

    async def _attempt(self) -> ClientConnection | Failed:
        return await self._open(lambda: self._apply(Reached()))

    async def _probe(self) -> Event:
        assert self._socket is not None
        await pong_arrives(self._socket)
        return ProbeAnswered()

    async def _say_goodbye(self) -> Event:
        assert self._socket is not None
        await self._socket.close()
        return Closed()

    async def _converse(self, connection: ClientConnection) -> Event:
        """Says hello and listens until the connection ends."""
        limit_send_buffer(connection, SEND_BUFFER_BYTES)
        complaint = ""  # what the relay said before it closed
        heartbeat: asyncio.Future[None] | None = None
        restorer = Restorer()
        try:
            await connection.send(serialize_message(self._hello))
            self._apply(HelloSent())
            while True:
                frame = await connection.recv()
                received_ns = self._clock.now_ns()
                self._apply(Heard())
                message = _parsed(frame)
                if isinstance(message, Error):
                    complaint = message.message
                if isinstance(frame, bytes):
                    frame = _restored(restorer, frame)
                if heartbeat is not None:
                    self._pass_on(frame, message, received_ns)
                elif isinstance(message, Welcome):
                    self._welcome(message)
                    heartbeat = asyncio.ensure_future(
                        beat(connection, self._ping_s, lambda: self._apply(Heard()))
                    )
        except ConnectionClosed as closed:
            if closed.rcvd is None:
                return Closed()
            return Closed(closed.rcvd.code, complaint or closed.rcvd.reason)
        finally:
            if heartbeat is not None:
                heartbeat.cancel()

    # --- what comes from the relay ----------------------------------------------------------------

    def _welcome(self, welcome: Welcome) -> None:
        self._apply(Welcomed())
        self._hello = dataclasses.replace(self._hello, resume=welcome.session)
        if self.connection is not None:  # None: we have said goodbye meanwhile
            for listener in self._listeners:
                listener.connected(welcome, self.connection)

    def _pass_on(self, frame: str | bytes, message: Message | None, received_ns: int) -> None:
        for listener in self._listeners:
            if isinstance(frame, bytes):
                listener.media(frame, received_ns)
            elif message is not None:
                listener.message(message)


def _results(tasks: set[asyncio.Task[Result]], done: set[asyncio.Future[Any]]) -> Iterator[Result]:
    """Removes those that are done from `tasks`, one by one, because what follows from the first may
    remove others. What opened comes before what failed. Raises what a task raised.
    """

    def failed(task: asyncio.Task[Result]) -> bool:
        return task.exception() is None and isinstance(task.result(), Failed)

    for task in sorted(tasks & done, key=failed):
        if task in tasks:
            tasks.remove(task)
            yield task.result()


def _restored(restorer: Restorer, frame: bytes) -> bytes:
    """With its whole header; as it is, where it is malformed."""
    try:
        return restorer.restore(frame)
    except MalformedPacket:
        return frame


def _parsed(frame: str | bytes) -> Message | None:
    """None for media, and for a message that this version does not know or cannot read: a newer
    relay may say more than we understand.
    """
    if isinstance(frame, bytes):
        return None
    try:
        return parse_message(frame)
    except MalformedMessage:
        return None
