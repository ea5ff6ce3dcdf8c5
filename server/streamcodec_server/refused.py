"""Why a client may not do something."""

from __future__ import annotations

from streamcodec.errors import StreamcodecError
from streamcodec.wire.session import CloseCode


class Refused(StreamcodecError):
    """A client asked for something that it may not have. The relay closes with `code`."""

    def __init__(self, code: CloseCode, message: str) -> None:
        super().__init__(message)
        self.code = code
