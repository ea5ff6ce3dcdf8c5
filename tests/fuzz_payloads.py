"""Coverage-guided fuzzing of everything that reads foreign bytes: `make fuzz` (needs atheris, which
is no dependency of ours).

A finding is any exception but the one documented error.
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
    from streamcodec.errors import ContainerError, MalformedMessage, MalformedPacket, PayloadError
    from streamcodec.wire.message_json import parse_message
    from streamcodec.wire.packet import parse

from regenerate import hand_made_tables  # noqa: E402

BITSTREAM = Bitstream(hand_made_tables())


def one_input(foreign: bytes) -> None:
    """The first byte chooses the reader."""
    if not foreign:
        return
    reader, rest = foreign[0] % 4, foreign[1:]
    try:
        if reader == 0:
            BITSTREAM.parse(
                rest,
                1 + foreign[0] // 4 % 3,
                1 + foreign[0] // 16 % 2,
                foreign[0] // 4 % BITSTREAM.levels,
            )
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
