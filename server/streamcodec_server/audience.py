"""The listeners of a room, each in a place of its own: what a packet has to know of all of them
stands in arrays, so that it can be sent to many in one call. Sans-I/O.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable
from typing import Protocol

from .mailbox import HELD, Counters, Mailbox
from .media import Media

VACANT = HELD - 1


class FanOut(Protocol):
    """Sends a packet past the mailboxes of many listeners."""

    def __call__(
        self,
        audience: Audience,
        media: Media,
        first: int,
        beyond: int,
        skip: int,
        counters: Counters,
    ) -> Iterable[tuple[int, bytes]]:
        """To places first to beyond - 1, but for `skip` -> the places whose mailboxes must take
        it, and what is left of a frame of which a part was sent (empty: nothing was).
        """
        ...


class Audience:
    """Of one room.

    sockets: of each place; HELD: the listener's frames go through its mailbox; VACANT: nobody is
    there. copies: how far back a copy may lie that it takes. mailboxes: None where nobody is.
    """

    __slots__ = ("_vacant", "copies", "mailboxes", "sockets")

    def __init__(self) -> None:
        self.sockets, self.copies = array("i"), array("b")
        self.mailboxes: list[Mailbox | None] = []
        self._vacant: list[int] = []  # a heap

    def __len__(self) -> int:
        """Places, vacant ones among them."""
        return len(self.mailboxes)

    def add(self, mailbox: Mailbox) -> None:
        """Somebody listens from now on."""
        if self._vacant:
            place = heapq.heappop(self._vacant)
        else:
            place = len(self.mailboxes)
            self.sockets.append(VACANT)
            self.copies.append(0)
            self.mailboxes.append(None)
        self.copies[place], self.mailboxes[place] = mailbox.copies, mailbox
        mailbox.sit(self.sockets, place)

    def remove(self, mailbox: Mailbox) -> None:
        place = mailbox.place
        self.sockets[place], self.mailboxes[place] = VACANT, None
        mailbox.stand_up()
        heapq.heappush(self._vacant, place)
