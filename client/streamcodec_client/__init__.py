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
    from .api.frames import Frame, Talker
    from .api.room import Room, RoomStatistics
    from .live.volumes import Volumes

__all__ = ["Frame", "Room", "RoomStatistics", "Talker", "Volumes", "connect"]

_HOMES = {
    "Frame": "api.frames",
    "Room": "api.room",
    "RoomStatistics": "api.room",
    "Talker": "api.frames",
    "Volumes": "live.volumes",
    "connect": "api.connect",
}


def __getattr__(name: str) -> Any:
    """Names are imported when first used, so that a command loads only what it needs."""
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
