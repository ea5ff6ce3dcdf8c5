"""Frames between the decoder's thread and those who read them, and who speaks in a room."""

from __future__ import annotations

import asyncio

import numpy as np

from fakes import fake_info
from streamcodec.wire.session import Mute, StreamEnd, StreamStart, Welcome
from streamcodec_client.api.frames import Frame, FrameMaker, FrameQueue, Talker
from streamcodec_client.api.roster import Roster
from streamcodec_client.live.receiver import HeardBlock
from streamcodec_client.live.talkers import MAX_TALKERS

LOUD, QUIET = Talker(1, "loud"), Talker(2, "quiet")


def frame(talker: Talker, number: int) -> Frame:
    return Frame(talker, np.full((160, 1), number, np.float32), None, concealed=False)


async def test_a_slow_reader_loses_the_oldest_of_who_speaks_too_much_and_is_told() -> None:
    dropped: list[int] = []
    queue = FrameQueue(dropped.append)
    queue.put(frame(QUIET, 0))
    for number in range(100):
        queue.put(frame(LOUD, number))
    queue.close()
    taken = []
    while (item := await queue.take()) is not None:
        taken.append((item.talker.name, item.pcm[0, 0], item.missed))
    assert taken[0] == ("quiet", 0, 0)
    assert taken[1] == ("loud", 60, 60 * 160)
    assert taken[2:] == [("loud", number, 0) for number in range(61, 100)]
    assert dropped == 60 * [160]


async def test_what_nobody_reads_is_bounded_however_many_talkers_come_and_go() -> None:
    dropped: list[int] = []
    queue = FrameQueue(dropped.append)
    for stream in range(200):
        for number in range(10):
            queue.put(frame(Talker(stream, "guest"), number))
    queue.close()
    kept = 0
    while await queue.take() is not None:
        kept += 1
    assert kept == MAX_TALKERS * 40
    assert sum(dropped) == (2_000 - kept) * 160


async def test_frames_are_taken_in_the_order_in_which_they_came() -> None:
    queue = FrameQueue()
    waiting = asyncio.ensure_future(queue.take())
    await asyncio.to_thread(queue.put, frame(LOUD, 1))
    first = await waiting
    assert first is not None
    assert first.talker == LOUD
    for number in range(3):
        queue.put(frame(LOUD, number))
        queue.put(frame(QUIET, number))
    names = [taken.talker.name for _ in range(6) if (taken := await queue.take()) is not None]
    assert names == ["loud", "quiet"] * 3


def test_frames_have_the_rate_and_channels_that_were_asked_for() -> None:
    talker = StreamStart(3, "Ada", fake_info())
    maker = FrameMaker(16_000, 48_000, 2)
    for number in range(3):
        block = HeardBlock(talker, np.full((160, 1), 0.5, np.float32), number * 10_000_000, True)
        made = maker.frame(block)
        assert made.pcm.shape == (480, 2)
        assert made.talker == Talker(3, "Ada")
        assert made.concealed
        assert made.captured_at is not None
        assert abs(made.captured_at - (number * 0.01 - 0.002)) < 1e-9  # the resampler's delay
    assert np.allclose(made.pcm, 0.5, atol=1e-3)
    assert maker.frame(HeardBlock(talker, block.pcm, None, False)).captured_at is None


def test_the_roster_is_who_speaks_besides_us() -> None:
    roster = Roster()
    assert not roster.welcomed.is_set()
    ada, me, bo = (StreamStart(n, name, fake_info()) for n, name in enumerate(("Ada", "me", "Bo")))
    roster.connected(Welcome("s", "lobby", 1, (ada,), 1, 0), 1)
    assert roster.welcomed.is_set()
    for message in (me, bo, Mute(muted=True, stream=2), Mute(muted=True, stream=9), bo):
        roster.message(message)
    assert roster.talkers == (Talker(0, "Ada"), Talker(2, "Bo", muted=True))
    roster.message(StreamEnd(0))
    roster.message(StreamEnd(7))
    assert roster.talkers == (Talker(2, "Bo", muted=True),)
    roster.disconnected("gone")
    assert roster.talkers == ()
