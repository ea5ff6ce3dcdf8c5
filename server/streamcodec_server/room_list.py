"""Which rooms are open, and how many people are there, for the page of a relay that is told to show
that (`--list-rooms`). Knows no clock: times are arguments.
"""

from __future__ import annotations

import heapq
import http
from collections.abc import Collection, Mapping

from .members import Room
from .overview import Answer, written
from .tokens import Grant, Keys, TokenRefused

ROOMS_PATH = "/page/rooms"
MOST_SHOWN = 50  # the fullest: nobody reads more
FRESH_MS = 1_000.0  # for so long an answer is given again, whoever asks


class RoomList:
    """Everybody is shown the same rooms; where tokens are asked for, those that the token allows to
    join. No names of people.
    """

    def __init__(self) -> None:
        self._answers: dict[tuple[str, ...], str] = {}  # by what a token allows; () without tokens
        self._begun_ms = 0.0  # when the first of them was made

    def answer(
        self,
        token: str,
        keys: Keys | None,
        rooms: Mapping[str, Room],
        fixed: Collection[str] | None,
        now_ms: float,
    ) -> Answer:
        """Status and body of the answer. fixed: names of the only rooms, which are shown while
        nobody is there, too; None: there are no others than `rooms`.
        """
        grant = None
        if keys is not None:
            try:
                grant = keys.check(token)
            except TokenRefused as refused:
                return http.HTTPStatus.UNAUTHORIZED, f"{refused}\n"
        if now_ms - self._begun_ms >= FRESH_MS:
            self._answers.clear()
        if not self._answers:
            self._begun_ms = now_ms
        allowed = () if grant is None else grant.rooms
        if (answer := self._answers.get(allowed)) is None:
            names = rooms.keys() | (fixed or ())
            answer = self._answers[allowed] = written(_listed(rooms, names, grant))
        return http.HTTPStatus.OK, answer


def _listed(
    rooms: Mapping[str, Room], names: Collection[str], grant: Grant | None
) -> dict[str, object]:
    """The fullest first, those that are as full by their names: lists that follow one another are
    alike.
    """
    shown = names if grant is None else grant.covered(names)
    fullest = heapq.nsmallest(MOST_SHOWN, ((-_people(rooms.get(name)), name) for name in shown))
    listed = [_room(name, rooms.get(name)) for _, name in fullest]
    return {"rooms": listed, "left_out": len(shown) - len(listed)}


def _people(room: Room | None) -> int:
    return 0 if room is None else len(room.talkers) + room.only_listening


def _room(name: str, room: Room | None) -> dict[str, object]:
    talkers, only_listening = (0, 0) if room is None else (len(room.talkers), room.only_listening)
    return {"name": name, "talkers": talkers, "only_listening": only_listening}
