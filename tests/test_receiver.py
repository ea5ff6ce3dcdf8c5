"""What a listener hears. A SteppedSink plays 10 ms at a time: each test is a timeline without a
clock on the wall.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from fakes import FakeDecoder, FakeModel, ManualClock, SteppedSink, fake_info, fake_payload
from streamcodec.errors import AudioError, ConfigError
from streamcodec.live.adaptive import DelayBounds
from streamcodec.wire.packet import Flags, Packet, serialize
from streamcodec.wire.session import Capture, Mute, StreamEnd, StreamInfo, StreamStart, Welcome
from streamcodec_client.audio.blocks import Pcm
from streamcodec_client.live.inbox import INBOX_LIMIT_MS
from streamcodec_client.live.receiver import RESUME_GRACE_S, Receiver
from streamcodec_client.live.talkers import MAX_AWAITED, MAX_TALKERS
from streamcodec_client.report.trace import NO_TRACE, FileTrace, Trace

TARGET_MS = 40
NO_FLAGS = Flags(0)


class Room:
    """A receiver with a stepped sink, and what the relay would do to it."""

    def __init__(
        self,
        channels: int = 1,
        trace: Trace = NO_TRACE,
        playout: float | DelayBounds = TARGET_MS,
    ) -> None:
        self.clock, self.model, self.notices = ManualClock(), FakeModel(), list[str]()
        self.sink = SteppedSink(self.clock, channels=channels)
        self.receiver = Receiver(
            self.model,
            self.sink,
            self.clock,
            playout=playout,
            notify=self.notices.append,
            trace=trace,
        )
        self._running: asyncio.Future[None] | None = None
        self._sequence: dict[int, int] = {}

    def welcome(self, *streams: StreamStart, connection: int = 1) -> None:
        self.receiver.connected(
            Welcome("session", "lobby", None, streams, len(streams), 1), connection
        )

    def joins(self, stream: int, info: StreamInfo | None = None) -> None:
        self.receiver.message(StreamStart(stream, f"talker {stream}", info or fake_info()))

    def leaves(self, stream: int, without_a_word: bool = False) -> None:
        if not without_a_word:  # a sender that ends says that nothing follows
            self.receiver.message(Mute(muted=True, stream=stream))
        self.receiver.message(StreamEnd(stream))

    def says(
        self,
        stream: int,
        *levels: float,
        payload: bytes | None = None,
        flags: Flags = NO_FLAGS,
        kind: int = 0,
    ) -> None:
        """One packet that arrives now."""
        sequence = self._sequence.get(stream, 0)
        self._sequence[stream] = sequence + 1
        content = fake_payload(*levels) if payload is None else payload
        datagram = serialize(Packet(flags, stream, sequence, 320 * sequence, content, kind))
        self.receiver.media(datagram, self.clock.now_ns())

    def loses(self, stream: int) -> None:
        self._sequence[stream] = self._sequence.get(stream, 0) + 1

    async def hears(self, blocks: int) -> list[float]:
        """Lets so many blocks of 10 ms be played -> the level at the end of each."""
        return [round(float(b[-1, 0]), 3) for b in np.split(await self.pcm(blocks), blocks)]

    async def pcm(self, blocks: int) -> Pcm:
        if self._running is None:
            self._running = asyncio.ensure_future(self.receiver.run())
        return await asyncio.to_thread(self.sink.step, blocks)

    async def close(self) -> None:
        self.receiver.stop()
        if self._running is not None:
            await self._running


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    new = Room()
    new.welcome()
    yield new
    await new.close()


async def speak(room: Room, packets: int, say: Callable[[], None]) -> list[float]:
    """A packet every 20 ms, each followed by two blocks."""
    heard = []
    for _ in range(packets):
        say()
        heard += await room.hears(2)
    return heard


async def test_a_talker_is_heard_one_playout_delay_later(room: Room) -> None:
    room.joins(1)
    assert await speak(room, 4, lambda: room.says(1, 0.5)) == [0, 0, 0, 0, 0.5, 0.5, 0.5, 0.5]


async def test_a_talker_who_was_there_before_us_is_heard() -> None:
    room = Room()
    room.welcome(StreamStart(7, "early", fake_info()))
    assert (await speak(room, 4, lambda: room.says(7, 0.25)))[-1] == 0.25
    await room.close()


async def test_decoding_happens_in_a_thread_of_its_own(room: Room) -> None:
    await room.hears(1)
    assert len(room.model.threads) == 1
    assert room.model.threads.pop().startswith("decoder")


async def test_several_talkers_are_mixed(room: Room) -> None:
    room.joins(1)
    room.joins(2)

    def both() -> None:
        room.says(1, 0.5)
        room.says(2, 0.25)

    assert (await speak(room, 4, both))[-1] == 0.75
    assert len(room.receiver.statistics().streams) == 2


async def test_a_loud_mix_stays_below_full_scale(room: Room) -> None:
    for stream in range(1, 5):
        room.joins(stream)

    def all_at_once() -> None:
        for stream in range(1, 5):
            room.says(stream, 0.9)

    assert 0.95 < (await speak(room, 4, all_at_once))[-1] <= 1


async def test_a_stereo_talker_on_a_mono_sink_is_averaged(room: Room) -> None:
    room.joins(1, fake_info(channels=2))
    assert (await speak(room, 4, lambda: room.says(1, 0.5, 0.1)))[-1] == 0.3


async def test_a_mono_talker_on_a_stereo_sink_is_on_both_sides() -> None:
    room = Room(channels=2)
    room.welcome(StreamStart(1, "mono", fake_info()))
    await speak(room, 3, lambda: room.says(1, 0.5))
    assert (await room.pcm(1))[-1].tolist() == [0.5, 0.5]
    await room.close()


async def test_packets_of_60_ms_are_heard_whole(room: Room) -> None:
    room.joins(1, fake_info(latents_per_payload=3))
    room.says(1, 0.5)
    heard = await room.hears(4)
    room.says(1, 0.25)
    assert heard + await room.hears(12) == [0] * 4 + [0.5] * 6 + [0.25] * 6


async def test_a_lost_packet_is_concealed(room: Room) -> None:
    room.joins(1)
    heard = await speak(room, 2, lambda: room.says(1, 0.8))
    room.loses(1)
    heard += await room.hears(2)
    heard += await speak(room, 3, lambda: room.says(1, 0.8))
    assert heard[4:12] == [0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.8, 0.8]
    statistics = room.receiver.statistics()
    assert (statistics.lost, statistics.concealed, statistics.late) == (1, 1, 0)


@pytest.mark.parametrize("playout", [TARGET_MS, DelayBounds()])
async def test_a_loss_that_lasts_fades_into_the_background_and_out_of_it(
    playout: float | DelayBounds,
) -> None:
    room = Room(playout=playout)
    room.welcome()
    room.joins(1)
    rng = np.random.default_rng(0)

    def faintly() -> None:
        room.says(1, 0.01 * rng.standard_normal())

    await speak(room, 20, faintly)
    await speak(room, 20, lambda: room.says(1, 0.5))
    await room.hears(6)
    lost = await room.pcm(40)  # nothing comes
    assert 0.001 < np.abs(lost[-1_600:]).max() < 0.06
    assert np.abs(np.diff(lost[:, 0])).max() < 0.3
    for _ in range(25):
        room.loses(1)
    assert (await speak(room, 8, lambda: room.says(1, 0.5)))[-1] == 0.5
    await room.close()


async def test_a_line_of_which_nothing_comes_any_more_falls_silent() -> None:
    room = Room(playout=DelayBounds())
    room.welcome()
    room.joins(1)
    await speak(room, 30, lambda: room.says(1, 0.1 * np.random.default_rng(0).standard_normal()))
    assert np.abs((await room.pcm(200))[-8_000:]).max() > 0
    assert not (await room.pcm(300))[-8_000:].any()
    await room.close()


async def test_a_bad_payload_is_concealed_and_the_stream_lives_on(room: Room) -> None:
    room.joins(1)
    await speak(room, 3, lambda: room.says(1, 0.8))
    room.says(1, payload=b"garbage")
    heard = await room.hears(4)
    heard += await speak(room, 3, lambda: room.says(1, 0.8))
    assert 0.4 in heard
    assert heard[-1] == 0.8
    assert room.receiver.statistics().bad_payloads == 1


async def test_what_is_no_packet_is_counted_and_ignored(room: Room) -> None:
    room.joins(1)
    for datagram in (b"", b"short", b"\x20" + bytes(20), bytes(2000)):
        room.receiver.media(datagram, room.clock.now_ns())
    assert (await speak(room, 4, lambda: room.says(1, 0.5)))[-1] == 0.5
    assert room.receiver.statistics().malformed == 4


async def test_other_packet_types_and_unknown_streams_are_ignored(room: Room) -> None:
    room.joins(1)

    def say() -> None:
        room.says(1, 0.5)
        room.says(9, 0.9)

    room.receiver.media(
        serialize(Packet(Flags(0), 1, 0, 0, b"from the future", 5)), room.clock.now_ns()
    )
    assert (await speak(room, 4, say))[-1] == 0.5
    assert room.receiver.statistics().packets == 4
    assert room.receiver.statistics().malformed == 0


async def test_a_silence_packet_is_silence(room: Room) -> None:
    room.joins(1)
    await speak(room, 3, lambda: room.says(1, 0.5))
    room.says(1, payload=b"", flags=Flags.DTX)
    assert (await room.hears(6))[2:] == [0.5, 0.5, 0, 0]


async def test_while_a_talker_pauses_the_background_goes_on_and_nothing_is_concealed(
    room: Room,
) -> None:
    room.joins(1)
    await speak(room, 4, lambda: room.says(1, 0.5, flags=Flags.VOICE))
    await speak(room, 12, lambda: room.says(1, 0.01))
    room.says(1, 0.01, flags=Flags.DTX)
    await room.hears(10)
    background = await room.pcm(100)
    assert 0.003 < np.sqrt(np.mean(background**2)) < 0.03
    assert np.abs(np.diff(background[:, 0])).max() < 0.02  # no click, no hole
    statistics = room.receiver.statistics()
    assert (statistics.concealed, statistics.lost) == (0, 0)
    room.leaves(1)
    assert (await room.hears(4))[-1] == 0
    assert room.receiver.everybody_left


async def test_a_talker_whose_connection_broke_goes_on_where_it_was(room: Room) -> None:
    room.joins(1)
    await speak(room, 4, lambda: room.says(1, 0.5))
    room.leaves(1)
    room.joins(1)  # the same stream over another connection, before all was played
    assert (await speak(room, 4, lambda: room.says(1, 0.5)))[-1] == 0.5
    statistics = room.receiver.statistics()
    assert (statistics.concealed, len(statistics.streams)) == (0, 1)
    assert len(room.model.decoders) == 2  # the warm-up's, and one


async def test_a_talker_is_not_gone_while_its_decoder_is_being_made(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    make = room.model.decoder

    def slowly(info: StreamInfo) -> FakeDecoder:
        seen.append(room.receiver.everybody_left)  # what the event loop would see meanwhile
        return make(info)

    monkeypatch.setattr(room.model, "decoder", slowly)
    room.joins(1)
    await room.hears(2)
    assert seen == [False, False]  # the warm-up's, and the talker's


async def test_a_talker_that_was_cut_off_is_waited_for(room: Room) -> None:
    room.joins(1)
    await speak(room, 4, lambda: room.says(1, 0.5))
    room.leaves(1, without_a_word=True)
    assert (await room.hears(30))[-1] == 0
    assert not room.receiver.everybody_left
    await room.hears(round(RESUME_GRACE_S * 100) - 40)
    assert not room.receiver.everybody_left
    await room.hears(20)
    assert room.receiver.everybody_left
    room.joins(1)
    assert (await speak(room, 4, lambda: room.says(1, 0.5)))[-1] == 0.5
    assert not room.receiver.everybody_left


async def test_how_long_a_word_takes_from_mouth_to_ear_is_known_by_the_relays_clock(
    room: Room,
) -> None:
    room.receiver.relay_offset_ms = lambda: 50_000.0
    room.joins(1)
    began_ms = room.clock.now_ns() / 1e6
    await speak(room, 4, lambda: room.says(1, 0.5))
    # nobody has said when it was captured
    assert room.receiver.statistics().streams[0].mouth_to_ear_ms is None
    # The first sample was captured 30 ms before its packet arrived.
    room.receiver.message(Capture(0, began_ms - 30 + 50_000, stream=1))
    await speak(room, 4, lambda: room.says(1, 0.5))
    stream = room.receiver.statistics().streams[0]
    assert stream.mouth_to_ear_ms is not None
    assert stream.mouth_to_ear_ms == pytest.approx(30 + TARGET_MS, abs=11)  # a block of the sink
    assert stream.mos == pytest.approx(4.4, abs=0.1)
    assert stream.concealed_percent == 0


async def test_another_model_is_named_and_the_others_are_heard(room: Room) -> None:
    room.joins(1, fake_info(model="feedfeedfeedfeed"))
    room.joins(2)

    def both() -> None:
        room.says(1, 0.9)
        room.says(2, 0.25)

    assert (await speak(room, 4, both))[-1] == 0.25
    assert len(room.notices) == 1
    assert "feedfeedfeedfeed" in room.notices[0]
    assert "0123456789abcdef" in room.notices[0]


async def test_packets_of_another_size_are_refused(room: Room) -> None:
    room.joins(1, StreamInfo("0123456789abcdef", 16_000, 1, 480, 1, 5))
    await room.hears(1)
    assert "480 samples" in room.notices[0]


async def test_a_line_that_is_dead_is_reported_as_one(room: Room) -> None:
    room.receiver.relay_offset_ms = lambda: 0.0
    room.joins(1)
    room.receiver.message(Capture(0, room.clock.now_ns() / 1e6, stream=1))
    await speak(room, 50, lambda: room.says(1, 0.5))
    alive = room.receiver.statistics().streams[0]
    assert alive.mos is not None
    assert alive.concealed_percent < 5
    await room.hears(100)  # a second
    assert room.receiver.statistics().streams[0].concealed_percent > 40
    await room.hears(1_000)
    dead = room.receiver.statistics().streams[0]
    assert dead.concealed_percent > 99
    assert (dead.mouth_to_ear_ms, dead.mos) == (None, None)


async def test_who_found_no_place_is_heard_when_somebody_leaves(room: Room) -> None:
    for stream in range(1, MAX_TALKERS + 2):
        room.joins(stream)
    late = MAX_TALKERS + 1
    assert (await speak(room, 4, lambda: room.says(late, 0.5)))[-1] == 0
    room.leaves(3)
    assert (await speak(room, 6, lambda: room.says(late, 0.5)))[-1] == 0.5
    assert len(room.notices) == 1


async def test_many_marks_of_captures_push_out_no_goodbye(room: Room) -> None:
    room.joins(1)
    await speak(room, 4, lambda: room.says(1, 0.5))
    room.leaves(1)
    for i in range(2_000):
        room.receiver.message(Capture(i, 0.0, stream=1))
    await room.hears(60)
    assert room.receiver.everybody_left


async def test_the_number_of_voices_is_bounded(room: Room) -> None:
    for stream in range(MAX_TALKERS + 2):
        room.joins(stream)
    await room.hears(1)
    assert len(room.receiver.statistics().streams) == MAX_TALKERS
    assert len(room.notices) == 2


async def test_a_talker_who_leaves_is_heard_to_the_end_and_removed(room: Room) -> None:
    room.joins(1)
    heard = await speak(room, 3, lambda: room.says(1, 0.5))
    room.leaves(1)
    assert not room.receiver.everybody_left
    heard += await room.hears(6)
    assert heard.count(0.5) == 6
    assert heard[-1] == 0
    assert room.receiver.everybody_left
    statistics = room.receiver.statistics()
    assert (statistics.streams, statistics.packets, statistics.played, statistics.concealed) == (
        (),
        3,
        3,
        0,
    )


async def test_a_muted_talker_is_not_concealed_and_may_come_back(room: Room) -> None:
    room.joins(1)
    heard = await speak(room, 3, lambda: room.says(1, 0.5))
    room.receiver.message(Mute(muted=True, stream=1))
    heard += await room.hears(10)
    assert heard.count(0.5) == 6
    assert room.receiver.everybody_left
    assert room.receiver.statistics().concealed == 0
    room.receiver.message(Mute(muted=False, stream=1))
    assert (await speak(room, 4, lambda: room.says(1, 0.25)))[-1] == 0.25
    assert not room.receiver.everybody_left


async def test_a_stretch_ends_without_a_click(room: Room) -> None:
    room.joins(1)
    await speak(room, 3, lambda: room.says(1, 0.8))
    room.leaves(1)
    heard = await room.pcm(6)
    assert np.abs(np.diff(heard[:, 0])).max() < 0.05
    assert heard[-1, 0] == 0


async def test_reset_resets_the_decoder(room: Room) -> None:
    room.joins(1)
    await speak(room, 3, lambda: room.says(1, 0.5))
    decoder = room.model.decoders[-1]
    before = decoder.resets
    room.says(1, 0.5, flags=Flags.RESET)
    await room.hears(6)
    assert decoder.resets == before + 1


async def test_another_bit_rate_does_not_interrupt(room: Room) -> None:
    room.joins(1)
    await speak(room, 3, lambda: room.says(1, 0.5))
    decoders = len(room.model.decoders)
    room.joins(1, StreamInfo("0123456789abcdef", 16_000, 1, 320, 1, 0, bitrate_bps=3_000))
    assert await speak(room, 2, lambda: room.says(1, 0.5)) == [0.5] * 4
    assert len(room.model.decoders) == decoders


async def test_we_do_not_hear_ourselves() -> None:
    room = Room()
    own = StreamStart(3, "myself", fake_info())
    room.receiver.connected(Welcome("session", "lobby", 3, (own,), 1, 1), 1)
    room.receiver.message(own)
    assert await speak(room, 4, lambda: room.says(3, 0.5)) == [0] * 8
    await room.close()


async def test_a_broken_connection_is_no_goodbye(room: Room) -> None:
    room.joins(1)
    heard = await speak(room, 3, lambda: room.says(1, 0.5))
    room.receiver.disconnected("the relay died")
    heard += await room.hears(6)
    assert heard.count(0.5) == 6, "what was in the buffer is heard"
    assert not room.receiver.everybody_left
    # The relay may give the same number to somebody else.
    room.welcome(StreamStart(1, "another", fake_info()), connection=2)
    assert (await speak(room, 4, lambda: room.says(1, 0.25)))[-1] == 0.25
    room.leaves(1)
    await room.hears(8)
    assert room.receiver.everybody_left


async def test_after_our_connection_broke_a_backlog_is_not_played() -> None:
    """What TCP delivers at last comes first over the new connection; what the network was like
    before it is still known.
    """
    room = Room(playout=DelayBounds())
    room.welcome()
    room.joins(1)
    await speak(room, 50, lambda: room.says(1, 0.5))
    room.receiver.disconnected("broken")
    await room.hears(100)
    room.welcome(StreamStart(1, "talker 1", fake_info()), connection=2)
    for _ in range(25):
        room.says(1, 0.3)  # of half a second to a second ago
    for _ in range(30):
        room.loses(1)
    heard = await room.hears(10) + await speak(room, 30, lambda: room.says(1, 0.7))
    assert 0.3 not in heard
    assert heard[-1] == 0.7
    assert room.receiver.statistics().packets == 50 + 25 + 30  # one stream, one account
    assert len(room.receiver.statistics().streams) == 1
    await room.close()


async def test_another_talker_under_an_old_number_is_another_talker(room: Room) -> None:
    room.joins(1)
    await speak(room, 10, lambda: room.says(1, 0.5))
    room.receiver.disconnected("broken")
    await room.hears(20)
    room.welcome(StreamStart(1, "somebody else", fake_info()), connection=2)
    heard = await speak(room, 10, lambda: room.says(1, 0.7))
    assert heard[-1] == 0.7
    statistics = room.receiver.statistics()
    assert [(s.name, s.playout.received) for s in statistics.streams] == [("somebody else", 10)]
    assert statistics.packets == 20


async def test_streams_that_broke_off_are_not_remembered_for_ever(room: Room) -> None:
    for stream in range(2 * MAX_AWAITED):
        room.joins(stream)
        await speak(room, 2, lambda number=stream: room.says(number, 0.5))  # type: ignore[misc]
        room.leaves(stream)
        await room.hears(12)
    assert room.receiver.statistics().packets == 4 * MAX_AWAITED
    assert not room.receiver.statistics().streams


async def test_a_stuck_sink_costs_the_oldest_packets(room: Room) -> None:
    room.joins(1)
    await room.hears(1)
    for _ in range(50):
        room.says(1, 0.5)
        room.clock.advance(20)
    assert room.receiver.statistics().overflow == 50 - INBOX_LIMIT_MS / 20 - 1
    assert (await speak(room, 5, lambda: room.says(1, 0.5)))[-1] == 0.5


async def test_the_trace_has_a_line_for_every_packet(tmp_path: Path) -> None:
    trace = FileTrace(tmp_path / "trace.jsonl")
    room = Room(trace=trace)
    room.welcome(StreamStart(1, "talker", fake_info()))
    began_ns = room.clock.now_ns()
    room.says(1, 0.5)
    await room.hears(2)
    room.loses(1)
    await room.hears(2)
    room.says(1, 0.5)
    await room.hears(5)
    room._sequence[1] = 1
    room.says(1, 0.5)  # packet 1, too late
    await room.hears(1)
    await room.close()
    trace.close()
    lines = [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text().splitlines()]
    assert lines[0] == {"sink_start_ns": began_ns}
    assert [(x["sequence"], x["concealed"], x["late"]) for x in lines[1:]] == [
        (0, False, False),
        (1, True, False),
        (2, False, False),
        (1, False, True),
    ]
    first = lines[1]
    assert first["received_ns"] == began_ns
    assert first["polled_ns"] == first["played_ns"] == began_ns + TARGET_MS * 1_000_000
    assert lines[2]["received_ns"] is None
    assert lines[4]["played_ns"] is None


class FailingSink(SteppedSink):
    def wants_block(self, timeout_s: float) -> bool:
        raise AudioError("sound device 3 stopped playing")


async def test_a_sink_that_fails_is_reported_and_closed() -> None:
    clock = ManualClock()
    sink = FailingSink(clock)
    with pytest.raises(AudioError, match="device 3 stopped"):
        await Receiver(FakeModel(), sink, clock).run()
    assert sink.closed


def test_an_impossible_playout_delay_is_named() -> None:
    clock = ManualClock()
    with pytest.raises(ConfigError, match="playout delay must be 0 to 280 ms, got 300"):
        Receiver(FakeModel(), SteppedSink(clock), clock, playout=300)


async def test_an_adaptive_listener_plays_its_delay_away_while_somebody_speaks() -> None:
    """On a network without jitter the first guess of 60 ms shrinks to the least, and not a packet
    is concealed or skipped.
    """
    room = Room(playout=DelayBounds())
    room.welcome(StreamStart(1, "steady", fake_info()))
    heard = await speak(room, 400, lambda: room.says(1, 0.5))
    assert set(heard[10:]) == {0.5}
    playout = room.receiver.statistics().streams[0].playout
    assert playout.delay_ms <= 30
    assert playout.concealed == playout.skipped == playout.late == 0
    await room.close()


async def test_an_adaptive_listener_hears_what_comes_late() -> None:
    room = Room(playout=DelayBounds())
    room.welcome(StreamStart(1, "stalls", fake_info()))
    await speak(room, 300, lambda: room.says(1, 0.5))
    await room.hears(10)  # nothing comes for 100 ms
    for _ in range(5):
        room.says(1, 0.25)
    assert 0.25 in await room.hears(10)
    playout = room.receiver.statistics().streams[0].playout
    assert playout.lost == playout.late == 0
    assert playout.concealed > 0
    await room.close()
