"""Rooms of a real relay for tests of live sessions in Python; their codec needs no network."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from typing import Any

import numpy as np

from fakes import FakeModel
from stand_in_relay import StandInRelay
from streamcodec_client import Room
from streamcodec_client.api.devices import NO_DEVICES, OpenDevices
from streamcodec_client.api.settings import RoomSettings
from streamcodec_client.clock import MonotonicClock
from streamcodec_client.live.encryption import RoomKey

RATE = 16_000
SETTINGS = RoomSettings(
    url="ws://127.0.0.1:1",
    ca=None,
    room="lobby",
    name="Ada",
    token="",
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


def room(
    url: str, key: RoomKey | None = None, devices: OpenDevices = NO_DEVICES, **changes: Any
) -> Any:
    settings = dataclasses.replace(SETTINGS, url=url, **changes)
    return Room(settings, FakeModel(), MonotonicClock(), key, devices).joined()


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
