"""Websocket frames as a server sends them (RFC 6455, section 5.2): unfragmented, not masked. Built
once, they go to any number of connections.
"""

from __future__ import annotations

TEXT, BINARY = 0x81, 0x82
SHORT = 126  # from this length on it takes two bytes more


def frame_of(message: str | bytes) -> bytes:
    """A message of at most 65,535 bytes -> its frame."""
    kind, data = (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
    if len(data) < SHORT:
        return bytes((kind, len(data))) + data
    return bytes((kind, SHORT)) + len(data).to_bytes(2, "big") + data


def head_bytes(frame: bytes) -> int:
    """How much of a frame is no message."""
    return 2 if frame[1] < SHORT else 4


def message_in(frame: bytes) -> str | bytes:
    """The message that `frame_of` made a frame of."""
    data = frame[head_bytes(frame) :]
    return data.decode() if frame[0] == TEXT else data
