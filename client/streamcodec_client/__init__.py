"""The client of streamcodec. In Python (docs/python.md):

>>> from streamcodec_client import connect
>>> async with connect("ws://127.0.0.1:8765", room="lobby", name="bot") as room:
...     async for frame in room.listen(mixed=True):
...         await room.send(frame.pcm)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api.connect import connect
    from .api.devices import RoomDevice
    from .api.frames import Frame, Talker
    from .api.recording import Recording
    from .api.room import Room, RoomStatistics
    from .audio.devices import SoundDevice, list_devices
    from .live.volumes import Volumes

__all__ = [
    "Frame",
    "Recording",
    "Room",
    "RoomDevice",
    "RoomStatistics",
    "SoundDevice",
    "Talker",
    "Volumes",
    "connect",
    "list_devices",
]

_HOMES = {
    "Frame": "api.frames",
    "Recording": "api.recording",
    "Room": "api.room",
    "RoomDevice": "api.devices",
    "RoomStatistics": "api.room",
    "SoundDevice": "audio.devices",
    "Talker": "api.frames",
    "Volumes": "live.volumes",
    "connect": "api.connect",
    "list_devices": "audio.devices",
}


def __getattr__(name: str) -> Any:
    """Names are imported when first used, so that a command loads only what it needs."""
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
