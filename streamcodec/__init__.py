"""streamcodec: live voice over a neural codec. PCM frames in, payload bytes out, and back.

>>> from streamcodec import StreamDecoder, StreamEncoder, load_model
>>> model = load_model()
>>> encoder = StreamEncoder(model, bitrate_bps=6000)
>>> decoder = StreamDecoder(model, encoder.config)
>>> for payload in encoder.encode(pcm):
...     play(decoder.decode(payload))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .coding.container import Recording, StreamHeader, read_container, write_container
    from .coding.model import CodecModel, load_model
    from .coding.recording import decode, encode
    from .coding.stream import StreamDecoder, StreamEncoder, decode_together, encode_together
    from .config import CodecConfig

__version__ = "0.1.0"
__all__ = [
    "CodecConfig",
    "CodecModel",
    "Recording",
    "StreamDecoder",
    "StreamEncoder",
    "StreamHeader",
    "decode",
    "decode_together",
    "encode",
    "encode_together",
    "load_model",
    "read_container",
    "write_container",
]

_HOMES = {
    "CodecConfig": "config",
    "CodecModel": "coding.model",
    "Recording": "coding.container",
    "StreamDecoder": "coding.stream",
    "StreamEncoder": "coding.stream",
    "StreamHeader": "coding.container",
    "decode": "coding.recording",
    "decode_together": "coding.stream",
    "encode": "coding.recording",
    "encode_together": "coding.stream",
    "load_model": "coding.model",
    "read_container": "coding.container",
    "write_container": "coding.container",
}


def __getattr__(name: str) -> Any:
    """Names are imported when first used: a relay imports `streamcodec.wire.packet` and must not
    load PyTorch with it.
    """
    if name in _HOMES:
        found = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
        globals()[name] = found  # the next time nobody asks here
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
