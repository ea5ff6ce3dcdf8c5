"""Live sessions in Python: rooms of a real relay, with a codec that needs no network."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from fakes import FakeModel
from stand_in_relay import StandInRelay, standing_in
from streamcodec.errors import AudioError, ConfigError, ConnectionRefused, RoomClosed
from streamcodec.wire.session import Error
from streamcodec_client import Room, connect
from streamcodec_client.api.frames import EVERYBODY
from streamcodec_client.api.settings import RoomSettings
from streamcodec_client.clock import MonotonicClock
from test_live import relay, until

RATE = 16_000
SETTINGS = RoomSettings(
    url="ws://127.0.0.1:1",
    ca=None,
    room="lobby",
    name="Ada",
    talk=True,
    listen=True,
    sample_rate=RATE,
    channels=1,
    bitrate_bps=None,
    quality=None,
    capped=False,
    packet_ms=20,
    dtx=False,
    redundancy=0,
    take_copies=0,
    playout_ms=(20.0, 400.0),
    timeout_s=10.0,
)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """Of a relay."""
    async with relay() as port:
        yield f"ws://127.0.0.1:{port}"


def room(url: str, **changes: Any) -> Any:
    settings = dataclasses.replace(SETTINGS, url=url, **changes)
    return Room(settings, FakeModel(), MonotonicClock()).joined()


def level(value: float, seconds: float = 0.1) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.full(round(seconds * RATE), value, np.float32)


def drop(stand_in: StandInRelay) -> None:
    """The connection breaks."""
    assert stand_in.connection is not None
    stand_in.connection.transport.abort()


async def arrives(stand_in: StandInRelay, text: str) -> None:
    async with asyncio.timeout(10):
        while text not in str(await stand_in.received.get()):
            pass


def client_tasks() -> Counter[str]:
    """Of rooms that were joined here, those of the relay left out."""
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    ours = (
        "Room.",
        "Member.",
        "Sender.",
        "Receiver.",
        "ClockSync.",
        "run_worker",
        "RelayTransport.run",
    )
    return Counter(name for name in names if name.startswith(ours))


async def first(heard: Any, value: float) -> Any:
    """The first frame that ends at this level."""
    async with asyncio.timeout(10):
        async for frame in heard:
            if round(float(frame.pcm[-1, 0]), 2) == value:
                return frame
    raise AssertionError("the session ended")


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


async def test_no_relay_is_an_error_of_connecting() -> None:
    with pytest.raises(ConnectionRefused, match="127.0.0.1:1"):
        async with room("ws://127.0.0.1:1", timeout_s=0.3):
            raise AssertionError("joined")


async def test_a_relay_that_refuses_later_ends_listening_and_sending_with_its_reason() -> None:
    async with standing_in(StandInRelay()) as stand_in:
        async with room(stand_in.url) as ada:
            stand_in.refusals.append((Error(4403, "not you"), 4403))
            drop(stand_in)
            with pytest.raises(ConnectionRefused, match="not you"):
                async for _ in ada.listen():
                    pass
            with pytest.raises(ConnectionRefused, match="not you"):
                await ada.send(level(0.1))
        # told once, it is not raised again here


async def test_a_failure_that_nobody_was_told_of_is_raised_at_the_end() -> None:
    async def read_nothing() -> None:
        async with room(stand_in.url, talk=False) as ada:
            stand_in.refusals.append((Error(4403, "not you"), 4403))
            drop(stand_in)
            await until(lambda: not ada.statistics().connected)
            await asyncio.sleep(1)

    async with standing_in(StandInRelay()) as stand_in:
        with pytest.raises(ConnectionRefused, match="not you"):
            await read_nothing()


async def test_a_goodbye_of_the_relay_ends_listening_and_refuses_sending() -> None:
    async with standing_in(StandInRelay()) as stand_in:
        async with room(stand_in.url) as ada:
            heard = ada.listen()
            assert stand_in.connection is not None
            await stand_in.connection.close(1000)
            async with asyncio.timeout(10):
                async for _ in heard:
                    raise AssertionError("nobody has said anything")
            with pytest.raises(RoomClosed):
                await ada.send(level(0.1))


async def test_an_exception_in_the_block_leaves_the_room_and_goes_on(url: str) -> None:
    async def fail() -> None:
        async with room(url, name="Bo") as bo:
            await until(lambda: bool(ada.talkers))
            await bo.send(level(0.5, 0.1))
            raise ZeroDivisionError

    async with room(url, name="Ada") as ada:
        with pytest.raises(ZeroDivisionError):
            await fail()
        await until(lambda: not ada.talkers)


async def test_a_cancelled_task_leaves_the_room_and_nothing_behind(url: str) -> None:
    async def listen_for_ever() -> None:
        async with room(url, name="Bo") as bo:
            async for _ in bo.listen():
                pass

    async with room(url, name="Ada") as ada:
        before = client_tasks()
        listening = asyncio.ensure_future(listen_for_ever())
        await until(lambda: bool(ada.talkers))
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listening
        await until(lambda: not ada.talkers)
        assert client_tasks() == before


async def test_wrong_pcm_is_refused_and_the_session_goes_on(url: str) -> None:
    async with room(url) as ada:
        wrongs: list[Any] = [np.full(10, np.inf, np.float32), np.zeros((4, 2), np.float32)]
        for wrong in (*wrongs, np.zeros(3, int), b"", "a"):
            with pytest.raises(AudioError):
                await ada.send(wrong)
        await ada.send(level(0.1))


async def test_what_a_room_was_not_joined_for_is_refused(url: str) -> None:
    async with room(url, talk=False) as ada:
        with pytest.raises(ConfigError, match="talk=False"):
            await ada.send(level(0.1))
        with pytest.raises(ConfigError, match="talk=False"):
            await ada.mute()
    async with room(url, listen=False) as ada:
        with pytest.raises(ConfigError, match="listen=False"):
            ada.listen()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"url": "http://relay"}, "relay URL must be ws://HOST:PORT"),
        ({"ca": "/nowhere.pem", "url": "wss://relay"}, "/nowhere.pem"),
        ({"room": ""}, "room must be 1 to 64 printable characters, got ''"),
        ({"name": 65 * "a"}, "name must be 1 to 64"),
        ({"talk": False, "listen": False}, "talk and listen are both False"),
        ({"channels": 3}, "channels must be 1 or 2, got 3"),
        ({"sample_rate": 100}, "100"),
        ({"packet_ms": 30}, "packet_ms must be one of 20, 40, 60, got 30"),
        ({"redundancy": 9}, "redundancy must be 0 to"),
        ({"take_copies": -1}, "take_copies must be 0 to"),
        ({"bitrate_bps": 6_000, "quality": 0.5}, "either a bit rate or a quality"),
        ({"bitrate_bps": 6}, "bit rate must be"),
        ({"playout_ms": -5.0}, "-5"),
        ({"playout_ms": (20.0, 50.0)}, "20..50"),
        ({"channels": 1.0}, "channels must be a whole number, got 1.0"),
        ({"redundancy": True}, "redundancy must be a whole number, got True"),
        ({"bitrate_bps": "6k"}, "bitrate_bps must be a number or None, got '6k'"),
        ({"timeout_s": 0}, "timeout_s must be above 0"),
        ({"dtx": "no"}, "dtx must be True or False"),
        ({"ca": 5}, "ca must be a path or None"),
        ({"model": 5}, "model must be a name, a folder or a CodecModel"),
        ({"playout_ms": (1, 2, 3)}, "one number or two, got (1, 2, 3)"),
        ({"playout_ms": 300.0}, "0 to 280"),
        ({"sample_rate": 44_100.5}, "sample_rate must be a whole number, got 44100.5"),
        ({"name": 5}, "name must be text, got 5"),
    ],
)
async def test_a_wrong_setting_is_refused_before_anything_starts(
    settings: dict[str, Any], complaint: str
) -> None:
    everything = {"url": "ws://127.0.0.1:1"} | settings
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        async with connect(**everything):
            raise AssertionError("joined")
