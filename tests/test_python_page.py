"""Examples of docs/python.md, as a reader would paste them, with a real relay and the shipped
codec. That with sound devices is in test_api_devices.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import correlate

from streamcodec.units import Pcm
from streamcodec_client import Room, connect
from test_live import relay, until

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
RATE = 16_000


def example(name: str) -> Any:
    """The function of that name out of the page."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    return names[name]


def likeness(heard: Pcm, said: Pcm) -> float:
    """Of the best place where `said` may lie in `heard`, 0..1; both [T]."""
    scores = correlate(heard, said, "valid")
    at = int(scores.argmax())
    found = heard[at : at + len(said)]
    return float(scores[at] / (np.linalg.norm(found) * np.linalg.norm(said) + 1e-9))


async def ends(task: asyncio.Future[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def present(room: Room, name: str) -> None:
    await until(lambda: name in [talker.name for talker in room.talkers])


async def test_a_room_is_recorded(tmp_path: Path, speech: NDArray[np.float32]) -> None:
    said = speech[RATE : 3 * RATE]
    async with relay() as port:
        url = f"ws://127.0.0.1:{port}"
        recording = asyncio.ensure_future(example("record")(url, tmp_path))
        await asyncio.sleep(1)  # a recorder cannot be seen
        async with connect(url, name="Ada", listen=False) as room:
            await room.send(said)
            await asyncio.sleep(0.5)
        await ends(recording)
    (path,) = tmp_path.glob("*-Ada.flac")
    assert len(list(tmp_path.glob("*-mix.flac"))) == 1
    heard, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    assert likeness(heard, said[RATE // 2 : -RATE // 4]) > 0.8


async def test_a_bot_answers(speech: NDArray[np.float32]) -> None:
    said, heard = speech[RATE : 3 * RATE], list[Pcm]()

    async def hear(room: Room) -> None:
        async for frame in room.listen():
            assert frame.talker.name == "echo"
            heard.append(frame.pcm[:, 0])

    async with relay() as port:
        url = f"ws://127.0.0.1:{port}"
        answering = asyncio.ensure_future(example("echo")(url))
        async with connect(url, name="Ada") as room:
            await present(room, "echo")
            hearing = asyncio.ensure_future(hear(room))
            await room.send(said)
            await asyncio.sleep(0.6)
        await hearing
        await ends(answering)
    assert likeness(np.concatenate(heard), said[RATE // 2 : -RATE // 4]) > 0.7


async def test_a_file_is_played(tmp_path: Path, speech: NDArray[np.float32]) -> None:
    said, heard = speech[RATE : 3 * RATE], list[Pcm]()
    path = tmp_path / "said.wav"
    soundfile.write(path, np.stack([said, -said], 1), RATE)
    async with relay() as port:
        url = f"ws://127.0.0.1:{port}"
        async with connect(url, name="Ada", talk=False, channels=2) as room:
            playing = asyncio.ensure_future(example("play")(url, path))
            async for frame in room.listen():
                heard.append(frame.pcm)
                if playing.done() and not room.talkers:
                    break
        await playing
    stereo = np.concatenate(heard)
    for channel, sign in ((0, 1), (1, -1)):
        assert likeness(stereo[:, channel], sign * said[RATE // 2 : -RATE // 4]) > 0.8
