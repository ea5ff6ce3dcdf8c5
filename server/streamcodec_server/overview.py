"""Who is where, for operators: GET /rooms and /rooms/NAME, with a token that moderates."""

from __future__ import annotations

import http
import json
import urllib.parse
from collections.abc import Iterable, Mapping

from .members import Member, Room
from .tokens import Grant, Keys, TokenRefused

PATH = "/rooms"
BEARER = "Bearer "  # RFC 6750, section 2.1
MOST_LISTED = 1_000  # an answer is made in one go: two milliseconds
Answer = tuple[http.HTTPStatus, str]


def bearer_of(headers: Iterable[str]) -> str:
    """The token in a request's Authorization headers, empty where there is none."""
    tokens = [h[len(BEARER) :].strip() for h in headers if h.startswith(BEARER)]
    return tokens[0] if len(tokens) == 1 else ""


def overview(
    path: str, token: str, keys: Keys | None, rooms: Mapping[str, Room], now_ms: float
) -> Answer:
    """Status and body of the answer. The token's holder sees the rooms that it moderates."""
    if keys is None:
        return http.HTTPStatus.FORBIDDEN, "this relay has no --keys: nobody can show who they are\n"
    try:
        grant = keys.check(token)
    except TokenRefused as refused:
        return http.HTTPStatus.UNAUTHORIZED, f"{refused}\n"
    if not grant.moderate:
        return http.HTTPStatus.FORBIDDEN, "only a token with moderate allows that\n"
    asked = urllib.parse.unquote(path.removeprefix(PATH).lstrip("/"))
    if not asked:
        return http.HTTPStatus.OK, written(_all(rooms, grant))
    if asked not in rooms or not grant.covers(asked):
        return http.HTTPStatus.NOT_FOUND, "no such room among those that the token moderates\n"
    return http.HTTPStatus.OK, written(_one(rooms[asked], now_ms))


def _all(rooms: Mapping[str, Room], grant: Grant) -> dict[str, object]:
    mine = [room for name, room in rooms.items() if grant.covers(name)]
    listed = [
        {"name": room.name, "talkers": len(room.talkers), "listeners": room.listening}
        for room in mine[:MOST_LISTED]
    ]
    return {"rooms": listed, "left_out": len(mine) - len(listed)}


def _one(room: Room, now_ms: float) -> dict[str, object]:
    members = list(room.members)
    listed = [_member(member, now_ms) for member in members[:MOST_LISTED]]
    return {"name": room.name, "members": listed, "left_out": len(members) - len(listed)}


def _member(member: Member, now_ms: float) -> dict[str, object]:
    stream = member.stream
    return {
        "member": member.number,
        "name": member.name,
        "role": str(member.role),
        "address": member.address,
        "elsewhere": member.remote,
        "seconds": round((now_ms - member.joined_ms) / 1_000, 1),
        "dropped": member.mailbox.dropped,
        "muted": stream is not None and stream.muted,
        "silenced": stream is not None and stream.silenced,
    }


def written(answer: dict[str, object]) -> str:
    """The body of an answer."""
    return json.dumps(answer) + "\n"
