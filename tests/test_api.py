"""Live sessions in Python: talking and listening in rooms of a real relay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from api_rooms import arrives, client_tasks, drop, first, level, room
from stand_in_relay import StandInRelay, standing_in
from streamcodec.errors import RoomClosed
from streamcodec_client.api.frames import EVERYBODY
from streamcodec_client.clock import MonotonicClock
from test_live import relay, until


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """Of a relay."""
    async with relay() as port:
        yield f"ws://127.0.0.1:{port}"


async def test_each_talker_is_heard_by_itself(url: str) -> None:
    async with room(url, name="Ada", talk=False) as ada:
        heard = {value: ada.listen() for value in (0.5, 0.25)}
        waiting = [asyncio.ensure_future(first(frames, v)) for v, frames in heard.items()]
        async with room(url, name="Bo", listen=False) as bo, room(url, name="Cy") as cy:
            await asyncio.gather(bo.send(level(0.5, 1)), cy.send(level(0.25, 1)))
            frames = await asyncio.gather(*waiting)
            assert [frame.talker.name for frame in frames] == ["Bo", "Cy"]
            assert [t.name for t in ada.talkers] == ["Bo", "Cy"]
            assert [t.name for t in cy.talkers] == ["Bo"]  # not itself
        assert not any(frame.concealed or frame.missed for frame in frames)
        await until(lambda: not ada.talkers)


async def test_frames_tell_when_they_were_captured(url: str) -> None:
    clock = MonotonicClock()
    async with room(url, talk=False) as ada:
        heard = ada.listen()
        async with room(url, name="Bo", listen=False) as bo:
            await bo.send(level(0.5, 0.8))  # a short word
            async with asyncio.timeout(10):
                async for frame in heard:
                    if frame.captured_at is not None:
                        break
            age_s = clock.now_ns() / 1e9 - frame.captured_at
    # captured when it was sent, and heard one playout delay later
    assert 0.0 < age_s < 2.0


async def test_sending_takes_as_long_as_what_is_sent(url: str) -> None:
    async with room(url) as ada:
        sending = asyncio.ensure_future(ada.send(level(0.1, 60)))
        await asyncio.sleep(0.5)
        assert not sending.done()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        sent_ms = ada.statistics().sent.captured_ms
        assert 0 < sent_ms < 30_000


@pytest.mark.parametrize(("rate", "samples"), [(16_000, 500), (44_100, 1_000), (11_025, 7)])
async def test_nothing_is_lost_in_pieces_of_any_size(url: str, rate: int, samples: int) -> None:
    async with room(url, listen=False, sample_rate=rate) as ada:
        said = np.zeros(rate // 2, np.float32)
        for start in range(0, len(said), samples):
            await ada.send(said[start : start + samples])
        await until(lambda: ada.statistics().sent.captured_ms >= 1000 * len(said) / rate - 1e-6)


async def test_sending_goes_on_after_a_mute_in_the_middle_of_it(url: str) -> None:
    async with room(url, listen=False) as ada:
        sending = asyncio.ensure_future(ada.send(level(0.1, 1)))
        await asyncio.sleep(0.1)
        await ada.mute()
        await ada.mute(False)
        async with asyncio.timeout(10):
            await sending


async def test_tasks_that_send_wait_for_each_other(url: str) -> None:
    async with room(url, name="Ada", talk=False) as ada, room(url, name="Bo", listen=False) as bo:
        heard = ada.listen()
        waiting = asyncio.ensure_future(first(heard, 0.25))
        await asyncio.gather(bo.send(level(0.5, 0.3)), bo.send(level(0.25, 0.3)))
        await waiting


async def test_leaving_ends_what_another_task_sends(url: str) -> None:
    async with room(url, listen=False) as ada:
        sending = asyncio.ensure_future(ada.send(level(0.1, 60)))
        await asyncio.sleep(0.1)
    with pytest.raises(RoomClosed):
        await sending


async def test_leaving_that_is_cancelled_leaves_nothing_behind(url: str) -> None:
    leaving = asyncio.Event()

    async def send_and_leave() -> None:
        async with room(url, name="Bo", listen=False) as bo:
            await bo.send(level(0.5, 0.1))
            leaving.set()

    async with room(url, name="Ada") as ada:
        before = client_tasks()
        task = asyncio.ensure_future(send_and_leave())
        await leaving.wait()
        await asyncio.sleep(0.005)  # what was sent is on its way
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert client_tasks() == before
        await until(lambda: not ada.talkers)


async def test_all_talkers_are_heard_as_one_without_a_gap(url: str) -> None:
    async with room(url, name="Ada", talk=False, sample_rate=48_000) as ada:
        heard = ada.listen(mixed=True)
        async with asyncio.timeout(10):
            frames = [await anext(heard) for _ in range(5)]
            assert all(f.pcm.shape == (480, 1) and not f.pcm.any() for f in frames)
        waiting = asyncio.ensure_future(first(heard, 0.75))
        async with room(url, name="Bo", listen=False) as bo, room(url, name="Cy") as cy:
            await asyncio.gather(bo.send(level(0.5, 1)), cy.send(level(0.25, 1)))
            assert (await waiting).talker == EVERYBODY


async def test_waiting_for_a_frame_may_be_given_up_and_begun_again(url: str) -> None:
    async with room(url, name="Ada", talk=False) as ada:
        heard = ada.listen()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(heard), 0.05)  # nobody is there
        waiting = asyncio.ensure_future(first(heard, 0.5))
        async with room(url, name="Bo", listen=False) as bo:
            await bo.send(level(0.5, 0.5))
            await waiting


async def test_each_listener_may_change_what_it_hears(url: str) -> None:
    async with room(url, name="Ada", talk=False) as ada:
        heard = [ada.listen(), ada.listen()]
        async with room(url, name="Bo", listen=False) as bo:
            await bo.send(level(0.5, 0.3))
            async with asyncio.timeout(10):
                one, other = [await anext(frames) for frames in heard]
        one.pcm[:] = 9
        assert not (other.pcm == 9).any()


async def test_what_was_sent_is_heard_though_the_room_is_left_at_once(url: str) -> None:
    async with room(url, name="Ada", talk=False) as ada:
        heard = ada.listen()
        waiting = asyncio.ensure_future(first(heard, 0.75))
        async with room(url, name="Bo", listen=False) as bo:
            await bo.send(np.concatenate([level(0.5, 0.2), level(0.75, 0.06)]))
        assert (await waiting).talker.name == "Bo"


async def test_who_is_muted_is_not_heard_and_others_know(url: str) -> None:
    async with room(url, name="Ada") as ada, room(url, name="Bo", listen=False) as bo:
        heard = ada.listen()
        await bo.mute()
        assert bo.muted
        await until(lambda: [t.muted for t in ada.talkers] == [True])
        await bo.send(level(0.5, 0.5))
        assert bo.statistics().sent.captured_ms == 0
        await bo.mute(False)
        await until(lambda: [t.muted for t in ada.talkers] == [False])
        waiting = asyncio.ensure_future(first(heard, 0.25))
        await bo.send(level(0.25, 0.5))
        await waiting


async def test_what_waits_is_not_sent_after_muting(url: str) -> None:
    async with room(url, listen=False) as ada:
        await ada.send(level(0.5, 0.1))
        await ada.mute()
        await asyncio.sleep(0.3)
        assert ada.statistics().sent.captured_ms <= 60  # what the encoder had taken


async def test_a_relay_that_comes_back_is_told_that_we_are_muted() -> None:
    async with standing_in(StandInRelay()) as stand_in:
        async with room(stand_in.url, listen=False) as ada:
            await ada.mute()
            await arrives(stand_in, '"mute"')
            drop(stand_in)
            await arrives(stand_in, '"muted":true')
            drop(stand_in)
            await ada.mute(False)  # while there is no connection, or just before it is known
            await arrives(stand_in, '"muted":false')
