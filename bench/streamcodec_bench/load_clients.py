"""Talkers and listeners of a relay as bare protocols of asyncio: thousands of them in one process,
which take as little of its time as they can.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import struct
import time
from collections.abc import AsyncIterator, Callable
from typing import cast

from streamcodec.errors import ConfigError
from streamcodec.wire.message_json import serialize_message
from streamcodec.wire.packet import (
    HEADER_BYTES,
    SEQUENCE_MODULUS,
    SHORT,
    Flags,
    Packet,
    serialize,
)
from streamcodec.wire.session import SUBPROTOCOL, Hello, Role, StreamInfo
from streamcodec.wire.short_headers import SHORT_HEADER_BYTES, Shortener

SAMPLE_RATE = 16_000
STAMP = struct.Struct("!Q")  # when a packet was sent, monotonic ns: the first bytes of its payload
TEXT, BINARY, PING, CLOSE = 1, 2, 9, 8
JOIN_LIMIT_S = 60.0
STALL = "stall"  # stops the relay itself
ABUSES = ("mutes", "pings", "flood", "rooms", "halves", "reconnects", STALL)


def masked(opcode: int, data: bytes) -> bytes:
    """A client's websocket frame. A mask of zeros leaves the data as they are (RFC 6455, 5.3)."""
    size = len(data)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([0x80 | opcode]) + length + bytes(4) + data


@dataclasses.dataclass
class Tally:
    """What listeners heard of the packets that were sent from `since_ns` on (None: of none), and
    before `until_ns`.
    ages_ms: from sending to reading; kept of every `one_in`th packet.
    """

    one_in: int = 1
    delivered: int = 0
    ages_ms: list[float] = dataclasses.field(default_factory=list)
    since_ns: int | None = None
    until_ns: int | None = None
    closed: dict[int, int] = dataclasses.field(default_factory=dict)  # close code -> connections

    def begin(self, now_ns: int) -> None:
        """Counts anew what is sent from now on."""
        self.delivered, self.since_ns, self.until_ns = 0, now_ns, None
        self.ages_ms.clear()

    def end(self, now_ns: int) -> None:
        """What is sent from now on does not count."""
        self.until_ns = now_ns


class Client(asyncio.Protocol):
    """One connection: shakes hands, says hello, and counts what comes."""

    def __init__(self, hello: Hello, tally: Tally, joined: Callable[[], None]) -> None:
        self._hello, self._tally, self._joined = hello, tally, joined
        self._waiting = b""
        self._open = False
        self.transport: asyncio.Transport | None = None
        self.heard_any = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(
            b"GET / HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Protocol: " + SUBPROTOCOL.encode() + b"\r\n\r\n"
        )
        self.transport.write(masked(TEXT, serialize_message(self._hello).encode()))

    def connection_lost(self, exc: Exception | None) -> None:
        closed = self._tally.closed
        if self.transport is not None:
            closed.setdefault(0, 0)
            closed[0] += 1
        self.transport = None

    def data_received(self, data: bytes) -> None:
        data = self._waiting + data if self._waiting else data
        at = 0
        if not self._open:
            head, found, _ = data.partition(b"\r\n\r\n")
            if not found:
                self._waiting = data
                return
            if b" 101 " not in head:
                self.leave()
                return
            self._open, at = True, len(head) + 4
        size = len(data)
        while size - at >= 2:
            length, start = data[at + 1], at + 2
            if length == 126:
                if size - at < 4:
                    break
                length, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            if size < start + length:
                break
            self._take(data[at] & 0x0F, data, start, start + length)
            at = start + length
        self._waiting = data[at:]

    def leave(self) -> None:
        """Ends the connection; that is no loss of it."""
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abort()

    def send(self, opcode: int, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(masked(opcode, data))

    def _take(self, opcode: int, data: bytes, start: int, end: int) -> None:
        tally = self._tally
        if opcode == BINARY:
            if tally.since_ns is None:
                return
            header = SHORT_HEADER_BYTES if data[start] & SHORT else HEADER_BYTES
            (sent_ns,) = STAMP.unpack_from(data, start + header)
            in_time = tally.until_ns is None or sent_ns < tally.until_ns
            if sent_ns >= tally.since_ns and in_time:
                tally.delivered += 1
                if tally.delivered % tally.one_in == 0:
                    tally.ages_ms.append((time.monotonic_ns() - sent_ns) / 1e6)
        elif opcode == PING:
            self.send(10, data[start:end])
        elif opcode == CLOSE:
            code = int.from_bytes(data[start : start + 2], "big")
            tally.closed[code] = tally.closed.get(code, 0) + 1
            self.leave()
        elif not self.heard_any:
            self.heard_any = True
            self._joined()


class Talker:
    """Sends a packet of so many bytes of payload each `packet_ms`."""

    def __init__(
        self, client: Client, payload_bytes: int, packet_ms: float, first_s: float
    ) -> None:
        """first_s: when it begins, by the loop's clock."""
        self._client, self._packet_s = client, packet_ms / 1000
        self._samples = round(SAMPLE_RATE * packet_ms / 1000)
        self._filling = os.urandom(max(0, payload_bytes - STAMP.size))
        self._loop, self._at = asyncio.get_running_loop(), first_s
        self._stopped = False
        self._shortener = Shortener()
        self.sent = 0
        self._loop.call_at(first_s, self._tick)

    def stop(self) -> None:
        self._stopped = True

    def _tick(self) -> None:
        if self._stopped:
            return
        payload = STAMP.pack(time.monotonic_ns()) + self._filling
        captured = self.sent * self._samples % SEQUENCE_MODULUS
        flags = Flags.RESET if self.sent == 0 else Flags(0)
        packet = Packet(flags, 0, self.sent % SEQUENCE_MODULUS, captured, payload)
        self._client.send(BINARY, self._shortener.shorten(serialize(packet)))
        self.sent += 1
        self._at += self._packet_s
        self._loop.call_at(self._at, self._tick)


def hello(role: Role, room: str, name: str, packet_ms: float = 20) -> Hello:
    """Of a client whose payloads nobody decodes."""
    samples = round(SAMPLE_RATE * packet_ms / 1000)
    info = StreamInfo("0" * 16, SAMPLE_RATE, 1, samples, 0, 6_000) if role.talks else None
    return Hello(role, room, name, info)


@dataclasses.dataclass(frozen=True)
class Load:
    """rooms, each of so many talkers and listeners; for how long (s), with packets of packet_ms and
    payload_bytes. abuse: one of ABUSES, in a room of its own, or "". Raises ConfigError.
    """

    rooms: int = 1
    talkers: int = 1
    listeners: int = 100
    seconds: float = 10.0
    packet_ms: int = 20
    payload_bytes: int = 15
    abuse: str = ""

    def __post_init__(self) -> None:
        if self.abuse and self.abuse not in ABUSES:
            raise ConfigError(f"abuse must be one of {', '.join(ABUSES)}, got {self.abuse!r}")
        for name in ("rooms", "talkers", "listeners", "seconds", "packet_ms"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.payload_bytes < 8:
            raise ConfigError(f"a payload needs 8 bytes for its time, got {self.payload_bytes}")


@contextlib.asynccontextmanager
async def joined(
    url: str, load: Load, tally: Tally, name: str = "room"
) -> AsyncIterator[tuple[list[Client], float]]:
    """Everybody in their rooms -> the talkers, and how long it took."""
    loop = asyncio.get_running_loop()
    host, port = address_of(url)
    all_in, waiting = asyncio.Event(), load.rooms * (load.talkers + load.listeners)

    def one_more() -> None:
        nonlocal waiting
        waiting -= 1
        if not waiting:
            all_in.set()

    async def join(role: Role, room: str, name: str) -> Client:
        greeting = hello(role, room, name, load.packet_ms)
        _, client = await loop.create_connection(
            lambda: Client(greeting, tally, one_more), host, port
        )
        return client

    began = time.monotonic()
    wanted = [
        (role, f"{name}{room}", f"{role}{n}")
        for room in range(load.rooms)
        for role, count in ((Role.TALK, load.talkers), (Role.LISTEN, load.listeners))
        for n in range(count)
    ]
    clients = await asyncio.gather(*(join(*who) for who in wanted))
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(JOIN_LIMIT_S):
                await all_in.wait()
        if waiting:
            raise ConfigError(
                f"{waiting} of {len(wanted)} clients could not join within {JOIN_LIMIT_S:g} s"
            )
        talkers = [c for c, who in zip(clients, wanted, strict=True) if who[0] is Role.TALK]
        yield talkers, time.monotonic() - began
    finally:
        for client in clients:
            client.leave()
        await asyncio.sleep(0.1)


def event_loop() -> asyncio.Runner:
    """On uvloop, where it is installed."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def address_of(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("ws://").partition("/")[0].rpartition(":")
    return host.strip("[]"), int(port)
