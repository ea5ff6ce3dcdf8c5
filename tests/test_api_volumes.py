"""How loud a program wants whom, in rooms of a real relay."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api_rooms import first, level, room
from streamcodec.errors import ConfigError
from streamcodec_client import Volumes
from test_live import relay, until

HALF_DB = -20 * math.log10(2)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """Of a relay."""
    async with relay() as port:
        yield f"ws://127.0.0.1:{port}"


async def says(talker: Any, value: float) -> None:
    """Until it is cancelled."""
    while True:
        await talker.send(level(value))


async def hears(listener: Any, **wanted: float) -> None:
    """Returns when each of these talkers is heard at its level."""
    heard = {}
    async with asyncio.timeout(10):
        async for frame in listener.listen():
            heard[frame.talker.name] = round(float(frame.pcm[-1, 0]), 3)
            if heard == wanted:
                return


async def test_volumes_are_of_everybody_and_of_each_talker(url: str) -> None:
    async with (
        room(url, name="Ada", talk=False) as ada,
        room(url, name="Bo", listen=False) as bo,
        room(url, name="Cy", listen=False) as cy,
    ):
        await until(lambda: len(ada.talkers) == 2)
        assert ada.volumes == Volumes()
        names = {talker.name: talker.stream for talker in ada.talkers}
        said = [asyncio.ensure_future(says(t, value)) for t, value in ((bo, 0.4), (cy, 0.2))]
        try:
            await hears(ada, Bo=0.4, Cy=0.2)
            await first(ada.listen(mixed=True), 0.6)
            ada.volumes = ada.volumes.changed(HALF_DB, names["Bo"])
            await hears(ada, Bo=0.2, Cy=0.2)
            await first(ada.listen(mixed=True), 0.4)
            ada.volumes = Volumes(overall_db=2 * HALF_DB)
            await hears(ada, Bo=0.1, Cy=0.05)
            await first(ada.listen(mixed=True), 0.15)
        finally:
            for task in said:
                task.cancel()
            await asyncio.gather(*said, return_exceptions=True)


async def test_of_whom_a_program_does_not_hear_there_come_no_frames(url: str) -> None:
    async with (
        room(url, name="Ada", talk=False) as ada,
        room(url, name="Bo", listen=False) as bo,
        room(url, name="Cy", listen=False) as cy,
    ):
        await until(lambda: len(ada.talkers) == 2)
        bo_stream = next(talker.stream for talker in ada.talkers if talker.name == "Bo")
        said = [asyncio.ensure_future(says(t, value)) for t, value in ((bo, 0.4), (cy, 0.2))]
        try:
            await first(ada.listen(), 0.4)
            ada.volumes = ada.volumes.toggled(bo_stream)
            await first(ada.listen(mixed=True), 0.2)  # of Cy alone
            frames = ada.listen()
            assert {(await anext(frames)).talker.name for _ in range(20)} == {"Cy"}
            ada.volumes = ada.volumes.toggled(bo_stream)
            assert (await first(frames, 0.4)).talker.name == "Bo"
        finally:
            for task in said:
                task.cancel()
            await asyncio.gather(*said, return_exceptions=True)


@pytest.mark.parametrize(
    "volumes",
    [
        *(Volumes(overall_db=13.0), Volumes(stream_db={3: -41.0}), Volumes(math.nan)),
        *(-6.0, None),
    ],
)
async def test_other_volumes_are_refused(url: str, volumes: Any) -> None:
    async with room(url, talk=False) as ada:
        with pytest.raises(ConfigError, match="volumes must be"):
            ada.volumes = volumes
        assert ada.volumes == Volumes()


async def test_who_does_not_listen_has_no_volumes(url: str) -> None:
    async with room(url, listen=False) as ada:
        with pytest.raises(ConfigError, match="listen=False"):
            _ = ada.volumes
        with pytest.raises(ConfigError, match="listen=False"):
            ada.volumes = Volumes()
