"""What a relay tells other relays of its rooms."""

from __future__ import annotations

from typing import Protocol

from streamcodec.wire.session import Message

from .members import Member, Room


class Elsewhere(Protocol):
    """Is told what members do who are connected here."""

    def joined(self, room: Room, member: Member) -> None:
        """Also one that takes the place of an earlier member with the same stream."""
        ...

    def left(self, room: Room, member: Member) -> None: ...

    def said(self, room: Room, member: Member, datagram: bytes) -> None:
        """A packet, with its whole header, that is passed on."""
        ...

    def told(self, room: Room, member: Member, message: Message) -> None:
        """A Mute, Capture or StreamUpdate."""
        ...


class Nowhere:
    """There are no others."""

    def joined(self, room: Room, member: Member) -> None: ...

    def left(self, room: Room, member: Member) -> None: ...

    def said(self, room: Room, member: Member, datagram: bytes) -> None: ...

    def told(self, room: Room, member: Member, message: Message) -> None: ...
