"""Two clients and a relay over a link that breaks, on a simulated clock: how soon after its return
speech is heard again.
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
from streamcodec_server.limits import RoomLimits
from streamcodec_server.relay import Relay
from streamcodec_server.settings import RelayConfig
from virtual_network import LoopClock, Outage, VirtualLoop, virtual_server

PACKET_S = 0.02
DELAY_S = 0.02  # of the link, one way
BREAKS_S, AFTER_S = 5.0, 5.0
BACK_S = 0.3  # from the return of the network to the first sound
RESUMED_S = 1.0  # the same, if the network broke again during the reconnect
CODEC_S = 0.035  # from capture: filling a packet, encoding it, 5 ms of overlap in the decoder
SHORT_S = 1.0  # shorter outages are left to TCP, which takes up to twice as long
QUEUE_S = 0.4


class Ear:
    """A TransportListener that notes when each packet was captured and played. Like a Receiver, it
    keeps its jitter buffer when the connection changes.
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
        """The jitter buffer is kept."""

    def media(self, datagram: bytes, received_ns: int) -> None:
        packet = parse(datagram)
        self.streams.add(packet.stream)
        self._playout.receive(
            packet.sequence, packet.capture_time, packet.payload, packet.flags, received_ns / 1e6
        )

    def message(self, message: Message) -> None:
        """Messages have no playout time."""


async def speak(transport: RelayTransport, until_s: float) -> None:
    """Sends a packet each 20 ms, numbered by its time. Without a connection it is lost."""
    loop = asyncio.get_running_loop()
    while loop.time() < until_s:
        await asyncio.sleep(PACKET_S)
        number = round(loop.time() / PACKET_S)
        if transport.connection is not None:
            await transport.send(serialize(Packet(Flags.VOICE, 0, number, 320 * number, b"word")))
            # The relay answers, so that TCP has something to repeat both ways.
            await transport.send_message(Time(1e3 * loop.time()))


async def session(until_s: float) -> Ear:
    loop = asyncio.get_running_loop()
    config = RelayConfig(port=1, limits=RoomLimits(max_queue_ms=QUEUE_S * 1e3))
    async with Relay(config, lambda: loop.time() * 1e3, open_server=virtual_server).running():
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
def test_after_an_outage_speech_is_back_at_once_and_nothing_stale_is_played(
    outage_s: float, begins_s: float
) -> None:
    returned = begins_s + outage_s
    ear = run((begins_s, returned))
    back = min(played for captured, played in ear.played if captured > returned)
    old = [played - captured for captured, played in ear.played if played > returned]
    before = [played - captured for captured, played in ear.played if 3 < played < begins_s]
    after = [played - captured for captured, played in ear.played if captured > returned + 2]
    assert back - returned <= (BACK_S if outage_s >= SHORT_S else 2 * outage_s + BACK_S)
    assert max(old) <= QUEUE_S + CODEC_S + 4 * DELAY_S  # nothing stale is played
    assert len(ear.streams) == 1
    assert len(after) >= 0.95 * (AFTER_S - 2) / PACKET_S - 5
    assert sum(after) / len(after) - sum(before) / len(before) <= PACKET_S  # at the delay of before


@pytest.mark.parametrize("window_s", [0.06, 0.1, 0.14, 0.2, 0.4])
@pytest.mark.parametrize("second_s", [1.0, 4.0])
def test_a_second_outage_leaves_one_stream_and_plays_nothing_stale(
    window_s: float, second_s: float
) -> None:
    """The link is up between them for long enough for a hello, but not for its welcome; or for
    both, but for no media.
    """
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
