"""Recordings that a program makes of a room, in rooms of a real relay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from api_rooms import RATE, first, level, room
from streamcodec.errors import ConfigError, OutputError, RoomClosed
from streamcodec.units import Pcm
from test_live import relay, until


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """Of a relay."""
    async with relay() as port:
        yield f"ws://127.0.0.1:{port}"


def samples(folder: Path, who: str) -> Pcm:
    """Of the only file of that person, [T]."""
    (path,) = folder.glob(f"*-{who}.flac")
    pcm, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    return np.asarray(pcm)


def long_at(pcm: Pcm, value: float) -> float:
    """For how many seconds in all."""
    return float(np.count_nonzero(np.abs(pcm - value) < 0.02)) / RATE


async def test_everybody_has_a_file_and_what_was_sent_is_in_it_whole(
    url: str, tmp_path: Path
) -> None:
    async with room(url, name="Ada") as ada, room(url, name="Bo", listen=False) as bo:
        heard = ada.listen()
        recording = ada.record(tmp_path / "calls")
        await bo.send(level(0.5, 0.5))
        await ada.send(level(0.25, 0.5))  # the last 100 ms wait when this returns
        await first(heard, 0.5)
        files = await recording.stop()
        assert [path.name.split("-", 2)[2] for path in files[-1:]] == ["mix.flac"]
        assert sorted(files) == sorted((tmp_path / "calls").iterdir())
        assert await recording.stop() == files
        await ada.send(level(0.125, 0.2))  # is not recorded any more
    assert long_at(samples(tmp_path / "calls", "Ada"), 0.25) == pytest.approx(0.5, abs=0.001)
    assert long_at(samples(tmp_path / "calls", "Ada"), 0.125) == 0
    assert long_at(samples(tmp_path / "calls", "Bo"), 0.5) > 0.1
    assert recording.failure is None


async def test_leaving_the_room_ends_a_recording_and_loses_nothing(
    url: str, tmp_path: Path
) -> None:
    async with room(url, listen=False) as ada:
        ada.record(str(tmp_path))
        await ada.send(level(0.25, 0.4))
    said = samples(tmp_path, "Ada")
    assert long_at(said, 0.25) == pytest.approx(0.4, abs=0.001)
    assert len(samples(tmp_path, "mix")) == len(said)


async def test_an_error_in_the_block_ends_it_in_order_too(url: str, tmp_path: Path) -> None:
    async def fails() -> None:
        async with room(url, listen=False) as ada:
            ada.record(tmp_path)
            await ada.send(level(0.25, 0.4))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails()
    assert long_at(samples(tmp_path, "mix"), 0.25) > 0.1


async def test_it_is_switched_off_and_on(url: str, tmp_path: Path) -> None:
    async with room(url, listen=False) as ada:
        recording = ada.record(tmp_path)
        await ada.send(level(0.5, 0.3))
        await until(lambda: ada._source.idle)
        assert recording.on
        recording.on = False
        await ada.send(level(0.25, 0.3))
        await until(lambda: ada._source.idle)
        recording.on = True
        await ada.send(level(0.125, 0.3))
    said = samples(tmp_path, "Ada")
    assert long_at(said, 0.5) == pytest.approx(0.3, abs=0.001)
    assert long_at(said, 0.25) == 0
    assert long_at(said, 0.125) == pytest.approx(0.3, abs=0.001)
    assert len(said) / RATE > 0.8  # with the silence between


async def test_nobody_who_spoke_leaves_no_files(url: str, tmp_path: Path) -> None:
    async with room(url) as ada:
        assert await ada.record(tmp_path).stop() == []
    assert list(tmp_path.iterdir()) == []


async def test_two_recordings_of_one_second_are_kept_apart(url: str, tmp_path: Path) -> None:
    async with room(url, listen=False) as ada:
        files = []
        for value in (0.5, 0.25):
            recording = ada.record(tmp_path)
            await ada.send(level(value, 0.1))
            files += await recording.stop()
    assert len(set(files)) == 4
    loudest = [float(np.abs(soundfile.read(path)[0]).max()) for path in files]
    assert loudest == pytest.approx([0.5, 0.5, 0.25, 0.25], abs=0.01)


async def test_what_is_wrong_is_named(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with room(url) as ada:
        with pytest.raises(OutputError, match="file"):
            ada.record(tmp_path / "file" / "calls")
        recording = ada.record(tmp_path / "one")
        with pytest.raises(ConfigError, match=f"recorded already, into {tmp_path / 'one'}"):
            ada.record(tmp_path / "two")
        await recording.stop()
        await ada.record(tmp_path / "two").stop()
    with pytest.raises(RoomClosed, match="nothing more can be recorded"):
        ada.record(tmp_path)


@pytest.mark.parametrize("stops", [True, False])
async def test_a_disk_that_takes_nothing_is_told_and_the_session_goes_on(
    url: str, tmp_path: Path, stops: bool
) -> None:
    left = False

    async def session() -> None:
        nonlocal left
        async with room(url, listen=False) as ada:
            recording = ada.record(tmp_path / "calls")
            (tmp_path / "calls").rmdir()
            await ada.send(level(0.5, 0.2))
            await until(lambda: recording.failure is not None)
            await ada.send(level(0.5, 0.1))
            assert ada.statistics().connected
            if stops:
                await recording.stop()
            left = True

    with pytest.raises(OutputError, match="recording has stopped: .*calls"):
        await session()
    assert left is not stops  # else leaving tells it


async def test_two_tasks_may_stop_it(url: str, tmp_path: Path) -> None:
    async with room(url, listen=False) as ada:
        recording = ada.record(tmp_path)
        await ada.send(level(0.5, 0.2))
        one, two = await asyncio.gather(recording.stop(), recording.stop())
    assert one == two
    assert len(one) == 2
