"""Two clients and a relay over a link that breaks, on a simulated clock: how soon after its return a word is heard again."""

from __future__ import annotations

import asyncio

import pytest

from fakes import fake_info
from streamcodec.packet import Flags, Packet, parse, serialize
from streamcodec.session import Hello, Message, Role, Welcome
from streamcodec_client.transport import RelayTransport
from streamcodec_server import relay as relay_module
from streamcodec_server.relay import Relay, RelayConfig
from streamcodec_server.rooms import RoomLimits
from virtual_network import VirtualLoop

PACKET_S = 0.02
DELAY_S = 0.02  # of the link, one way
BREAKS_S, AFTER_S = 5.0, 5.0
# Of the 300 ms that an outage may go on silencing a stream; packets of 20 ms, the codec and a settled buffer take the others.
NETWORKS_SHARE_S = 0.24
QUEUE_S = 0.4
JUST_S = 0.001


class LoopClock:
    """The loop's own time."""

    def now_ns(self) -> int:
        return round(asyncio.get_running_loop().time() * 1e9)

    def sleep(self, seconds: float) -> None:
        raise AssertionError("on the event loop nobody sleeps")


class Ear:
    """A TransportListener that notes when what was sent when arrived."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, float, int]] = []  # sent, received, stream; s
        self.connections: list[float] = []

    def connected(self, welcome: Welcome, connection: int) -> None:
        self.connections.append(asyncio.get_running_loop().time())

    def disconnected(self, reason: str) -> None:
        """Another connection will come."""

    def media(self, datagram: bytes, received_ns: int) -> None:
        packet = parse(datagram)
        self.heard.append((packet.capture_time * PACKET_S / 320, received_ns / 1e9, packet.stream))

    def message(self, message: Message) -> None:
        """Not of interest."""


async def speak(transport: RelayTransport, until_s: float) -> None:
    """A packet each 20 ms, of what has just been captured."""
    loop = asyncio.get_running_loop()
    number = 0
    while loop.time() < until_s:
        await asyncio.sleep(PACKET_S)
        number = round(loop.time() / PACKET_S)
        if transport.connection is not None:
            await transport.send(serialize(Packet(Flags.VOICE, 0, number, 320 * number, b"word")))


async def session(until_s: float) -> Ear:
    loop = asyncio.get_running_loop()
    async with Relay(RelayConfig(port=1, limits=RoomLimits(max_queue_ms=QUEUE_S * 1e3))).running():
        ear = Ear()
        clock = LoopClock()
        talker = RelayTransport("ws://127.0.0.1:1", Hello(Role.TALK, "a", "Ada", fake_info()), [], clock, jitter=lambda: 1.0)
        listener = RelayTransport("ws://127.0.0.1:1", Hello(Role.LISTEN, "a", "Lis"), [ear], clock, jitter=lambda: 1.0)
        running = [asyncio.ensure_future(t.run()) for t in (talker, listener)]
        await speak(talker, until_s)
        await asyncio.sleep(until_s - loop.time())
        for transport in (talker, listener):
            transport.close()
        await asyncio.wait(running, timeout=5)
    return ear


def run(monkeypatch: pytest.MonkeyPatch, outage_s: float, begins_s: float = BREAKS_S) -> Ear:
    loop = VirtualLoop(DELAY_S, [(begins_s, begins_s + outage_s)])
    monkeypatch.setattr(relay_module, "_now_ms", lambda: loop.time() * 1e3)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(session(begins_s + outage_s + AFTER_S))


@pytest.mark.parametrize("begins_s", [5.0, 5.07, 5.13, 5.2, 5.27, 5.34])
@pytest.mark.parametrize("outage_s", [0.2, 1.0, 3.0, 5.4, 10.0, 30.0])
def test_after_an_outage_speech_is_back_at_once_and_nothing_old(
    monkeypatch: pytest.MonkeyPatch, outage_s: float, begins_s: float
) -> None:
    ear = run(monkeypatch, outage_s, begins_s)
    returned = begins_s + outage_s
    fresh = min(received for sent, received, _ in ear.heard if sent > returned)
    after = [received - sent for sent, received, _ in ear.heard if received > returned]
    assert fresh - returned <= NETWORKS_SHARE_S
    assert max(after) <= QUEUE_S + 4 * DELAY_S  # nothing older is said again
    assert len({stream for _, _, stream in ear.heard}) == 1
    settled = [received - sent for sent, received, _ in ear.heard if sent > returned + 1]
    assert len(settled) >= 0.95 * (AFTER_S - 1) / PACKET_S - 2
    assert max(settled) <= 2 * DELAY_S + JUST_S  # at the delay of before


def test_without_an_outage_one_connection_carries_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    ear = run(monkeypatch, 0.0)
    assert len(ear.connections) == 1
    assert max(received - sent for sent, received, _ in ear.heard) <= 2 * DELAY_S + JUST_S
