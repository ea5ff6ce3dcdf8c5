"""Two clients and a relay over a link that breaks, on a simulated clock: how soon after its return
a word is heard again.
"""

from __future__ import annotations

import asyncio

import pytest

from fakes import fake_info
from streamcodec.live.adaptive import AdaptivePlayout
from streamcodec.live.playout import Play
from streamcodec.wire.packet import Flags, Packet, parse, serialize
from streamcodec.wire.session import Hello, Message, Role, Time, Welcome
from streamcodec_client.transport.relay import RelayTransport
from streamcodec_server.relay import Relay, RelayConfig
from streamcodec_server.rooms import RoomLimits
from virtual_network import LoopClock, Outage, VirtualLoop

PACKET_S = 0.02
DELAY_S = 0.02  # of the link, one way
BREAKS_S, AFTER_S = 5.0, 5.0
BACK_S = 0.3  # after the network's return
RESUMED_S = 1.0  # after that of one that broke again at the worst of moments
CODEC_S = 0.035  # a packet must be full before it is coded, is coded, and comes out 5 ms later
SHORT_S = 1.0  # what is shorter is left to TCP, which takes up to twice as long
QUEUE_S = 0.4


class Ear:
    """A TransportListener that notes when what was captured when is played. A Receiver keeps its
    buffers over connections too.
    """

    def __init__(self) -> None:
        self.played: list[tuple[float, float]] = []  # captured, played; s
        self.streams: set[int] = set()
        self.connections: list[float] = []
        self._playout = AdaptivePlayout(packet_ms=1e3 * PACKET_S, samples_per_ms=16)

    async def play(self, until_s: float) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < until_s:
            played = self._playout.poll(loop.time() * 1e3)
            if isinstance(played, Play):
                self.played.append((played.capture_time / 16e3 - CODEC_S, loop.time()))
            await asyncio.sleep(PACKET_S)

    def connected(self, welcome: Welcome, connection: int) -> None:
        self.connections.append(asyncio.get_running_loop().time())

    def disconnected(self, reason: str) -> None:
        """Another connection will come."""

    def media(self, datagram: bytes, received_ns: int) -> None:
        packet = parse(datagram)
        self.streams.add(packet.stream)
        self._playout.receive(
            packet.sequence, packet.capture_time, packet.payload, packet.flags, received_ns / 1e6
        )

    def message(self, message: Message) -> None:
        """Not of interest."""


async def speak(transport: RelayTransport, until_s: float) -> None:
    """A packet each 20 ms, numbered by its time: what nobody could take is lost."""
    loop = asyncio.get_running_loop()
    while loop.time() < until_s:
        await asyncio.sleep(PACKET_S)
        number = round(loop.time() / PACKET_S)
        if transport.connection is not None:
            await transport.send(serialize(Packet(Flags.VOICE, 0, number, 320 * number, b"word")))
            # the relay answers: both ways have something to repeat
            await transport.send_message(Time(1e3 * loop.time()))


async def session(until_s: float) -> Ear:
    loop = asyncio.get_running_loop()
    config = RelayConfig(port=1, limits=RoomLimits(max_queue_ms=QUEUE_S * 1e3))
    async with Relay(config, clock=lambda: loop.time() * 1e3).running():
        ear = Ear()
        clock = LoopClock()
        talker = RelayTransport(
            "ws://127.0.0.1:1",
            Hello(Role.TALK, "a", "Ada", fake_info()),
            [],
            clock,
            jitter=lambda: 1.0,
        )
        listener = RelayTransport(
            "ws://127.0.0.1:1", Hello(Role.LISTEN, "a", "Lis"), [ear], clock, jitter=lambda: 1.0
        )
        running = [asyncio.ensure_future(t.run()) for t in (talker, listener)]
        await asyncio.gather(speak(talker, until_s), ear.play(until_s))
        for transport in (talker, listener):
            transport.close()
        await asyncio.wait(running, timeout=5)
    return ear


def run(*outages: Outage) -> Ear:
    loop = VirtualLoop(DELAY_S, outages)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(session(max((end for _, end in outages), default=BREAKS_S) + AFTER_S))


@pytest.mark.parametrize("begins_s", [5.0, 5.07, 5.13, 5.2, 5.27, 5.34])
@pytest.mark.parametrize(
    "outage_s", [0.2, 0.4, 0.7, 1.0, 1.3, 1.6, 2.8, 3.0, 3.6, 4.3, 5.4, 10.0, 30.0]
)
def test_after_an_outage_speech_is_back_at_once_and_nothing_old(
    outage_s: float, begins_s: float
) -> None:
    returned = begins_s + outage_s
    ear = run((begins_s, returned))
    back = min(played for captured, played in ear.played if captured > returned)
    old = [played - captured for captured, played in ear.played if played > returned]
    before = [played - captured for captured, played in ear.played if 3 < played < begins_s]
    after = [played - captured for captured, played in ear.played if captured > returned + 2]
    assert back - returned <= (BACK_S if outage_s >= SHORT_S else 2 * outage_s + BACK_S)
    assert max(old) <= QUEUE_S + CODEC_S + 4 * DELAY_S  # nothing stale is said again
    assert len(ear.streams) == 1
    assert len(after) >= 0.95 * (AFTER_S - 2) / PACKET_S - 5
    assert sum(after) / len(after) - sum(before) / len(before) <= PACKET_S  # at the delay of before


@pytest.mark.parametrize("window_s", [0.06, 0.1, 0.14, 0.2, 0.4])
@pytest.mark.parametrize("second_s", [1.0, 4.0])
def test_a_path_that_breaks_again_leaves_one_stream_and_nothing_old(
    window_s: float, second_s: float
) -> None:
    """Long enough for a hello, and not for its welcome; or for both, and for no word."""
    breaks_s = 8.0 + window_s
    returned = breaks_s + second_s
    ear = run((5.0, 8.0), (breaks_s, returned))
    assert (
        min(played for captured, played in ear.played if captured > returned) - returned
        <= RESUMED_S
    )
    assert (
        max(played - captured for captured, played in ear.played) <= QUEUE_S + CODEC_S + 4 * DELAY_S
    )
    assert len(ear.streams) == 1


def test_without_an_outage_one_connection_carries_everything() -> None:
    ear = run()
    assert len(ear.connections) == 1
    assert len(ear.played) >= (BREAKS_S + AFTER_S) / PACKET_S - 20
    assert max(played - captured for captured, played in ear.played) <= 0.2
