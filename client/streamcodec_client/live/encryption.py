"""End-to-end encryption: what a talker sends only those can hear who know the room's passphrase;
the relay cannot (docs/security.md, decision 0021).

Payloads and copies are sealed with SFrame. Its key id is a random number that the talker's stream
info names, its counter the packet's sequence number; flags and capture time are authenticated with
it. A copy has a key id of its own, because its counter is that of the packet it stands for.
"""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
from pathlib import Path

from streamcodec.errors import ConfigError
from streamcodec.wire.packet import SEQUENCE_MODULUS, Packet, PacketType
from streamcodec.wire.redundancy import MAX_COPY_BYTES, Copy, join, separate

from .sframe import NotOpened, SFrame

# RFC 7914. 32 MiB and a tenth of a second for each guess at a passphrase.
SCRYPT = {"n": 1 << 15, "r": 8, "p": 1, "maxmem": 64 << 20}
BASE_KEY_BYTES = 16
LEAST_PASSPHRASE_CHARACTERS = 12
REPLAY_WINDOW = 1_024  # packets that may come after a later one
OF_COPY = b"copy"


class RoomKey:
    """What all who know a room's passphrase share."""

    def __init__(self, passphrase: str, room: str) -> None:
        """Takes a tenth of a second. Raises ConfigError for a passphrase that is too short."""
        if not isinstance(passphrase, str):
            raise ConfigError(f"a passphrase is text, got {type(passphrase).__name__}")
        if len(passphrase) < LEAST_PASSPHRASE_CHARACTERS:
            raise ConfigError(
                f"a passphrase has at least {LEAST_PASSPHRASE_CHARACTERS} characters, "
                f"got {len(passphrase)}: whoever runs the relay could guess a shorter one"
            )
        salt = b"streamcodec room " + room.encode()
        self._base = hashlib.scrypt(passphrase.encode(), salt=salt, dklen=BASE_KEY_BYTES, **SCRYPT)

    @classmethod
    def of_file(cls, path: Path, room: str) -> RoomKey:
        """The first line of a file is the passphrase. Raises ConfigError."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            raise ConfigError(f"passphrase {path}: {reason}") from error
        return cls(text.partition("\n")[0].strip("\r"), room)

    def sealer(self) -> Sealer:
        """For one talker's packets."""
        return Sealer(self._base, secrets.randbits(63) << 1)

    def opener(self, key_id: str) -> Opener:
        """For the packets of a talker whose info names that key."""
        return Opener(self._base, int(key_id, 16))


class Sealer:
    """Of one talker, whose sequence numbers never begin anew."""

    def __init__(self, base_key: bytes, key_id: int) -> None:
        self.key_id = f"{key_id:016x}"  # for the stream's info
        self._own, self._copies = SFrame(base_key, key_id), SFrame(base_key, key_id | 1)

    def seal(self, packet: Packet) -> Packet:
        """Also the copy that it carries."""
        metadata = _metadata(packet)
        plain, copy = separate(packet, 0)
        sealed = self._own.seal(packet.sequence, metadata, plain.payload)
        if copy is not None:
            hidden = self._copies.seal(copy.sequence, OF_COPY, copy.payload)
            distance = (packet.sequence - copy.sequence) % SEQUENCE_MODULUS
            if len(hidden) <= MAX_COPY_BYTES:
                return dataclasses.replace(packet, payload=join(hidden, distance, sealed))
        return dataclasses.replace(plain, payload=sealed)


class Opener:
    """Of one talker's packets. Each is opened once."""

    def __init__(self, base_key: bytes, key_id: int) -> None:
        self._own, self._copies = SFrame(base_key, key_id), SFrame(base_key, key_id | 1)
        self._newest = -1
        self._opened = 0  # bit n: the packet n before the newest one

    def open(self, packet: Packet) -> Packet:
        """A packet without its copy. Raises NotOpened."""
        behind = self._newest - packet.sequence
        if behind >= REPLAY_WINDOW or (behind >= 0 and self._opened >> behind & 1):
            raise NotOpened("it came before")
        plain = self._own.open(packet.sequence, _metadata(packet), packet.payload)
        if behind < 0:
            shift = min(-behind, REPLAY_WINDOW)
            self._opened = (self._opened << shift | 1) & ((1 << REPLAY_WINDOW) - 1)
            self._newest = packet.sequence
        else:
            self._opened |= 1 << behind
        return dataclasses.replace(packet, payload=plain)

    def open_copy(self, copy: Copy) -> Copy:
        """Raises NotOpened."""
        if self._newest - copy.sequence >= REPLAY_WINDOW:
            raise NotOpened("it came before")
        plain = self._copies.open(copy.sequence, OF_COPY, copy.payload)
        return dataclasses.replace(copy, payload=plain)


def _metadata(packet: Packet) -> bytes:
    """The relay may take a packet's copy out, which changes its type; nothing else."""
    assert packet.type in (PacketType.AUDIO, PacketType.AUDIO_WITH_COPY)
    return bytes([packet.flags]) + packet.capture_time.to_bytes(4, "big")
