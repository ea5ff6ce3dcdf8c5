"""Coverage-guided fuzzing of everything that reads foreign bytes: `make fuzz` (needs atheris, which
is no dependency of ours).

A finding is any exception but the one documented error, and what the C parser reads otherwise than
the Python one. `make fuzz-native` fuzzes the C library alone, with sanitizers.
"""

import io
import sys
from pathlib import Path

import atheris

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "models", "tests", "tests/golden")]

with atheris.instrument_imports(include=["streamcodec"]):
    from streamcodec.coding.bitstream import Bitstream
    from streamcodec.coding.container import read_container
    from streamcodec.coding.model import bitstream_of
    from streamcodec.errors import ContainerError, MalformedMessage, MalformedPacket, PayloadError
    from streamcodec.wire.message_json import parse_message
    from streamcodec.wire.packet import parse

from regenerate import hand_made_tables  # noqa: E402

BITSTREAM = Bitstream(hand_made_tables())
BUILT = bitstream_of(hand_made_tables())  # in C, where that is built


def read_by_both(payload: bytes, packets: int, channels: int, base_level: int) -> None:
    """Raises AssertionError where the C parser and the Python one differ in what they say."""
    said: list[object] = []
    for bitstream in (BITSTREAM, BUILT):
        try:
            read = bitstream.parse(payload, packets, channels, base_level)
            said.append((read.level, read.gain_index.tolist(), read.y.tolist()))
        except PayloadError as error:
            said.append(str(error))
    assert said[0] == said[1]


def one_input(foreign: bytes) -> None:
    """The first byte chooses the reader."""
    if not foreign:
        return
    reader, rest = foreign[0] % 4, foreign[1:]
    try:
        if reader == 0:
            packets, channels = 1 + foreign[0] // 4 % 3, 1 + foreign[0] // 16 % 2
            read_by_both(rest, packets, channels, foreign[0] // 4 % BITSTREAM.levels)
        elif reader == 1:
            parse(rest)
        elif reader == 2:
            parse_message(rest.decode("utf-8", "replace"))
        else:
            read_container(io.BytesIO(rest))
    except (PayloadError, MalformedPacket, MalformedMessage, ContainerError):
        pass


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
