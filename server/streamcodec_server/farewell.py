"""What a client is told when its connection is refused or ended."""

from __future__ import annotations

from streamcodec.wire.message_json import serialize_message
from streamcodec.wire.session import Error

from .frames import frame_of
from .refused import Refused

MAX_REASON_BYTES = 120  # a close frame has room for 123
MAX_ERROR_CHARACTERS = 500


def error_frame(refused: Refused) -> bytes:
    """The last message before the close frame."""
    error = Error(refused.code, str(refused)[:MAX_ERROR_CHARACTERS])
    return frame_of(serialize_message(error))


def reason_of(refused: Refused) -> str:
    """As a close frame says it."""
    return str(refused).encode()[:MAX_REASON_BYTES].decode(errors="ignore")
