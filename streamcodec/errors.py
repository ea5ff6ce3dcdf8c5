"""The error tree. Everything this project raises for bad input derives from StreamcodecError."""

from __future__ import annotations


class StreamcodecError(Exception):
    """Bad input, stated in one line: what was wrong and what is allowed. The command line prints it
    and exits with status 2.
    """


class MalformedPacket(StreamcodecError):
    """A media packet that breaks the wire format."""


class UnsupportedVersion(MalformedPacket):
    """A media packet of another protocol version."""


class MalformedMessage(StreamcodecError):
    """A control message that breaks the protocol."""


class UnsupportedHello(MalformedMessage):
    """A hello of another protocol version. Its other fields are not checked: they may mean
    something else there.
    """


class PayloadError(StreamcodecError):
    """Codec payload that cannot be decoded. The decoder's state is as it was before."""


class ContainerError(StreamcodecError):
    """A file that is not a streamcodec container, or one of another version."""


class ModelError(StreamcodecError):
    """Weights that are missing, damaged, or not those that a stream was made with."""


class AudioError(StreamcodecError):
    """Audio that cannot be read, written, captured or played."""


class ConfigError(StreamcodecError):
    """A setting outside its range."""


class OutputError(StreamcodecError):
    """A file that cannot be written: no such folder, no permission, a full disk."""


class ConnectionRefused(StreamcodecError):
    """The relay refused the connection, and another attempt would be refused as well."""

    def __init__(self, message: str, close_code: int | None = None) -> None:
        super().__init__(message)
        self.close_code = close_code


class RoomClosed(StreamcodecError):
    """The relay has ended the session, or we have left the room."""
