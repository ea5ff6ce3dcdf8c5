"""An event loop with simulated time, whose TCP connections share one link that delays and breaks.
Waiting takes no real time, and every run is the same.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Sequence
from ssl import SSLError
from typing import Any

FIRST_RTO_S = 0.2, 0.15  # towards the server and back; doubled with every repetition
SYN_REPEATS_S = (0.0, 1.0, 3.0, 7.0, 15.0, 31.0)
MOST_REPEATS = 12
# The shortest wait: one too short to change the time, a float of seconds, would never end.
TURN_S = 1e-7

Outage = tuple[float, float]  # s: from, to


class _Selector(selectors.SelectSelector):
    """No real socket ever becomes ready: instead of waiting, it advances the time."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("nothing is left that could happen: the test would hang")
            self.now_s += max(TURN_S, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A link with `delay_s` one way. During `outages` nothing gets through, and TCP repeats what it
    holds afterwards.
    """

    def __init__(self, delay_s: float, outages: Sequence[Outage] = ()) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        self.delay_s, self.outages = delay_s, outages
        self.tried_s: list[float] = []  # when connections were tried
        self.servers: dict[int, Callable[[], asyncio.Protocol]] = {}

    def time(self) -> float:
        return self._virtual.now_s

    def up(self, at_s: float) -> bool:
        return not any(start <= at_s < end for start, end in self.outages)

    async def create_server(
        self, factory: Any, host: Any = None, port: Any = None, **_: Any
    ) -> Any:
        self.servers[port] = factory
        return _Server(lambda: self.servers.pop(port, None))

    async def create_connection(
        self, factory: Any, host: Any = None, port: Any = None, ssl: Any = None, **_: Any
    ) -> Any:
        """As TCP does: a lost SYN is repeated after 1, 3, 7 s; a refusal takes a round trip. Nobody
        speaks TLS.
        """
        began = self.time()
        self.tried_s.append(began)
        for after_s in SYN_REPEATS_S:
            await asyncio.sleep(began + after_s - self.time())
            if not self.up(self.time()):
                continue
            await asyncio.sleep(2 * self.delay_s)
            if (accept := self.servers.get(port)) is None:
                raise ConnectionRefusedError(111, "connection refused")
            if ssl is not None:
                await asyncio.sleep(2 * self.delay_s)
                raise SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
            near, far = factory(), accept()
            here, there = (
                _Transport(self, end, rto_s)
                for end, rto_s in zip((near, far), FIRST_RTO_S, strict=True)
            )
            here.peer, there.peer = there, here
            far.connection_made(there)
            near.connection_made(here)
            return here, near
        raise TimeoutError


class LoopClock:
    """The running loop's time as the clock of a transport."""

    def now_ns(self) -> int:
        return round(asyncio.get_running_loop().time() * 1e9)

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps on the event loop")


class _Server:
    """What websockets needs of an asyncio.Server."""

    sockets: tuple[Any, ...] = ()

    def __init__(self, stop: Callable[[], Any]) -> None:
        self.close = stop

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def is_serving(self) -> bool:
        return True

    async def start_serving(self) -> None:
        """It serves from the beginning."""

    async def wait_closed(self) -> None:
        """It closes at once."""


class _Socket:
    def fileno(self) -> int:
        """There is none."""
        return -1

    def setsockopt(self, *_: Any) -> None:
        """Buffers have no limits here."""


class _Transport(asyncio.Transport):
    """One end of a connection. Bytes arrive in order: what is written while the link is down waits
    for a retransmission, and everything written after it waits, too.
    """

    def __init__(self, loop: VirtualLoop, protocol: asyncio.Protocol, rto_s: float) -> None:
        super().__init__(
            {"socket": _Socket(), "peername": ("virtual", 0), "sockname": ("virtual", 0)}
        )
        self._loop, self._protocol, self._rto_s = loop, protocol, rto_s
        self.peer: _Transport
        self._closing = self._lost = self._aborted = False
        self._sent_by = 0.0  # when the last write got onto the link

    def write(self, data: Any) -> None:
        if not self._closing:
            self._carry(self.peer.receive, bytes(data))

    def _carry(self, deliver: Callable[..., None], *arguments: Any) -> None:
        sent = max(
            self._loop.time(), self._sent_by + TURN_S
        )  # timers due at the same time have no order
        wait = self._rto_s + 2 * self._loop.delay_s
        for _ in range(MOST_REPEATS):
            if self._loop.up(sent) and self._loop.up(sent + self._loop.delay_s):
                break
            sent, wait = sent + wait, 2 * wait
        self._sent_by = sent
        self._loop.call_at(sent, self._onto_link, sent, deliver, *arguments)

    def _onto_link(self, sent: float, deliver: Callable[..., None], *arguments: Any) -> None:
        if not self._aborted:
            self._loop.call_at(sent + self._loop.delay_s, deliver, *arguments)

    def receive(self, data: bytes) -> None:
        if not self._lost:
            self._protocol.data_received(data)

    def finished(self) -> None:
        """The other end has closed."""
        if not self._lost:
            self._protocol.eof_received()
            self.close()

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._carry(self.peer.finished)
            self._loop.call_soon(self.lose)

    def abort(self) -> None:
        if not self._lost:
            self._closing = self._aborted = True
            if self._loop.up(self._loop.time()):  # a reset is sent once
                self._loop.call_later(self._loop.delay_s, self.peer.lose)
            self._loop.call_soon(self.lose)

    def lose(self) -> None:
        """This end was closed or aborted, or learns that the other was."""
        if not self._lost:
            self._lost = self._closing = True
            self._protocol.connection_lost(None)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._closing

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """Readers are always fast enough."""

    def resume_reading(self) -> None:
        """Reading is never paused."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Writers never wait."""

    def get_write_buffer_size(self) -> int:
        return 0


async def virtual_server(
    where: dict[str, Any], make_protocol: Callable[[], Any], **settings: Any
) -> Any:
    """For a relay: `VirtualLoop` has no sockets that could be accepted from in turns."""
    return await asyncio.get_running_loop().create_server(make_protocol, **where)
