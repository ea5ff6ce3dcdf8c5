"""Who is heard, who is waited for, and when everybody has left."""

from __future__ import annotations

import pytest

from fakes import FakeDecoder, fake_info
from listening_room import Room, speak
from streamcodec.live.adaptive import DelayBounds
from streamcodec.wire.session import Capture, Mute, StreamInfo, StreamStart, Welcome
from streamcodec_client.live.receiver import RESUME_GRACE_S
from streamcodec_client.live.talkers import MAX_AWAITED, MAX_TALKERS


async def test_a_talker_whose_connection_broke_goes_on_where_it_was(room: Room) -> None:
    room.joins(1)
    await speak(room, 4, lambda: room.says(1, 0.5))
    room.leaves(1)
    room.joins(1)  # the same stream over another connection, before all was played
    assert (await speak(room, 4, lambda: room.says(1, 0.5)))[-1] == 0.5
    statistics = room.receiver.statistics()
    assert (statistics.concealed, len(statistics.streams)) == (0, 1)
    assert len(room.model.decoders) == 2  # the warm-up's, and one


async def test_a_talker_whose_decoder_is_being_made_has_not_left(
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


async def test_a_talker_whose_connection_broke_is_waited_for(room: Room) -> None:
    room.joins(1)
    await speak(room, 4, lambda: room.says(1, 0.5))
    room.leaves(1, announced=False)
    assert (await room.hears(30))[-1] == 0
    assert not room.receiver.everybody_left
    await room.hears(round(RESUME_GRACE_S * 100) - 40)
    assert not room.receiver.everybody_left
    await room.hears(20)
    assert room.receiver.everybody_left
    room.joins(1)
    assert (await speak(room, 4, lambda: room.says(1, 0.5)))[-1] == 0.5
    assert not room.receiver.everybody_left


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
    room.joins(1, StreamInfo("0123456789abcdef", 16_000, 1, 480, 5))
    await room.hears(1)
    assert "480 samples at 16000 Hz, the model's 320, 640 or 960 at 16000" in room.notices[0]


async def test_a_talker_too_many_is_heard_when_another_leaves(room: Room) -> None:
    for stream in range(1, MAX_TALKERS + 2):
        room.joins(stream)
    late = MAX_TALKERS + 1
    assert (await speak(room, 4, lambda: room.says(late, 0.5)))[-1] == 0
    room.leaves(3)
    assert (await speak(room, 6, lambda: room.says(late, 0.5)))[-1] == 0.5
    assert len(room.notices) == 1


async def test_a_talker_too_many_who_is_muted_is_heard_when_there_is_room(room: Room) -> None:
    for stream in range(1, MAX_TALKERS + 2):
        room.joins(stream)
    late = MAX_TALKERS + 1
    room.receiver.message(Mute(muted=True, stream=late))
    await room.hears(2)
    room.leaves(3)
    assert (await room.hears(60))[-1] == 0
    assert late in room.receiver.muted_streams
    room.receiver.message(Mute(muted=False, stream=late))
    assert (await speak(room, 6, lambda: room.says(late, 0.5)))[-1] == 0.5


async def test_many_capture_marks_do_not_push_out_other_events(room: Room) -> None:
    room.joins(1)
    await speak(room, 4, lambda: room.says(1, 0.5))
    room.leaves(1)
    for i in range(2_000):
        room.receiver.message(Capture(i, 0.0, stream=1))
    await room.hears(60)
    assert room.receiver.everybody_left


async def test_the_number_of_talkers_is_bounded(room: Room) -> None:
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


async def test_another_bit_rate_does_not_interrupt(room: Room) -> None:
    room.joins(1)
    await speak(room, 3, lambda: room.says(1, 0.5))
    decoders = len(room.model.decoders)
    room.joins(1, StreamInfo("0123456789abcdef", 16_000, 1, 320, 0, bitrate_bps=3_000))
    assert await speak(room, 2, lambda: room.says(1, 0.5)) == [0.5] * 4
    assert len(room.model.decoders) == decoders


async def test_we_do_not_hear_ourselves() -> None:
    room = Room()
    own = StreamStart(3, "myself", fake_info())
    room.receiver.connected(Welcome("session", "lobby", 3, (own,), 1, 1), 1)
    room.receiver.message(own)
    assert await speak(room, 4, lambda: room.says(3, 0.5)) == [0] * 8
    await room.close()


async def test_when_our_connection_breaks_nobody_has_left(room: Room) -> None:
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


async def test_the_backlog_of_a_broken_connection_is_not_played() -> None:
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


async def test_another_talker_under_an_old_stream_number_gets_a_new_player(
    room: Room,
) -> None:
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


async def test_players_of_ended_streams_are_kept_up_to_a_bound(room: Room) -> None:
    for stream in range(2 * MAX_AWAITED):
        room.joins(stream)
        await speak(room, 2, lambda number=stream: room.says(number, 0.5))  # type: ignore[misc]
        room.leaves(stream)
        await room.hears(12)
    made = len(room.model.decoders)
    assert room.receiver.statistics().packets == 4 * MAX_AWAITED
    assert not room.receiver.statistics().streams
    room.joins(MAX_AWAITED)  # the oldest that is kept
    await room.hears(1)
    assert len(room.model.decoders) == made
    room.joins(MAX_AWAITED - 1)  # the newest that is not
    await room.hears(1)
    assert len(room.model.decoders) == made + 1


async def test_an_event_that_the_worker_has_not_seen_may_bring_somebody(room: Room) -> None:
    room.joins(1)
    await speak(room, 4, lambda: room.says(1, 0.5))
    room.leaves(1)
    await room.hears(8)
    assert room.receiver.everybody_left
    room.joins(2)
    assert not room.receiver.everybody_left
    await room.hears(1)
    assert not room.receiver.everybody_left


async def test_a_talker_who_waited_and_goes_on_with_its_old_player_waits_no_more(
    room: Room,
) -> None:
    room.joins(1)
    await speak(room, 3, lambda: room.says(1, 0.5))
    room.leaves(1)
    await room.hears(8)  # played out: its player is kept
    for stream in range(2, MAX_TALKERS + 2):
        room.joins(stream)
    room.joins(1)  # no place left
    await room.hears(1)
    for stream in range(2, MAX_TALKERS + 2):
        room.leaves(stream)
    await room.hears(2)
    room.receiver.message(Mute(muted=True, stream=1))
    await room.hears(2)
    assert [s.stream for s in room.receiver.statistics().streams] == [1]
    assert room.receiver.everybody_left
