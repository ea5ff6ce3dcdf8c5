"""Live sessions in Python: what ends them, what is refused, and what is left behind."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from api_rooms import client_tasks, drop, level, room
from stand_in_relay import StandInRelay, standing_in
from streamcodec.errors import AudioError, ConfigError, ConnectionRefused, RoomClosed
from streamcodec.wire.session import Error
from streamcodec_client import connect
from test_live import relay, until


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """Of a relay."""
    async with relay() as port:
        yield f"ws://127.0.0.1:{port}"


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
        ({"redundancy": True}, "redundancy must be a whole number or None, got True"),
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
