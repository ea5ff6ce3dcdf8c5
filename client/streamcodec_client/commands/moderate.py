"""`streamcodec moderate`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click

from streamcodec.errors import ConfigError
from streamcodec.wire.session import (
    Hello,
    Members,
    Message,
    Present,
    Remove,
    Role,
    Silence,
    Welcome,
    Who,
)

from ..clock import MonotonicClock
from ..transport.relay import RelayTransport
from .joining_options import ca_option, token_option

ANSWER_LIMIT_S = 10.0


class _Moderator:
    """Asks who is in the room, says one thing of a member, and asks again: a relay says nothing of
    a number that nobody has.
    """

    def __init__(self, said: Remove | Silence | None, room: str) -> None:
        self._said, self._room = said, room
        self._allowed = False  # what is to be said was compared with who is there
        self._transport: RelayTransport | None = None
        self._asking: asyncio.Future[None] | None = None
        self.present: list[Present] = []
        self.mistake = ""  # why it was not said
        self.answered = asyncio.Event()

    def begin(self, transport: RelayTransport) -> None:
        self._transport = transport

    def connected(self, welcome: Welcome, connection: int) -> None:
        self._asking = asyncio.ensure_future(self._ask())

    async def _ask(self) -> None:
        assert self._transport is not None
        self.present.clear()
        if self._said is not None and self._allowed:
            await self._transport.send_message(self._said)
        await self._transport.send_message(Who())

    def disconnected(self, reason: str) -> None:
        """It connects again, and asks again."""

    def media(self, datagram: bytes, received_ns: int) -> None:
        """Nobody listens."""

    def message(self, message: Message) -> None:
        if isinstance(message, Members):
            self.present += message.members
            if not message.more:
                self._listed()

    def _listed(self) -> None:
        """All of who is there has come."""
        if self._said is not None and not self._allowed:
            self.mistake = _mistake(self._said, self.present, self._room)
            if not self.mistake:
                self._allowed = True
                self._asking = asyncio.ensure_future(self._ask())
                return
        self.answered.set()


def _mistake(said: Remove | Silence, present: list[Present], room: str) -> str:
    """Why that cannot be done in a room with these members; "" where it can."""
    number = said.member
    member = next((other for other in present if other.member == number), None)
    if member is None:
        return f"no member {number} in room {room}: give the number of one who is there"
    if isinstance(said, Silence) and not member.role.talks:
        return f"member {number} of room {room} only listens: give the number of one who talks"
    return ""


@click.command()
@click.option("--url", default="ws://127.0.0.1:8765", show_default=True, help="The relay.")
@ca_option
@click.option("--room", default="lobby", show_default=True)
@token_option
@click.option("--remove", type=int, metavar="MEMBER", help="Ends a member's connection.")
@click.option("--silence", type=int, metavar="MEMBER", help="Nobody hears a member any more.")
@click.option("--unsilence", type=int, metavar="MEMBER", help="And everybody again.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each member.")
def moderate(
    url: str,
    ca: Path | None,
    room: str,
    token: str,
    remove: int | None,
    silence: int | None,
    unsilence: int | None,
    as_json: bool,
) -> None:
    """Show who is in a room, and with --remove, --silence or --unsilence the number of a member,
    do that first. It needs a token that allows it: `streamcodec token --moderate`. Who is removed,
    or silenced, stays so for an hour with that token and address.
    """
    asked: list[Remove | Silence] = [
        *([] if remove is None else [Remove(remove)]),
        *([] if silence is None else [Silence(silence, True)]),
        *([] if unsilence is None else [Silence(unsilence, False)]),
    ]
    if len(asked) > 1:
        raise ConfigError("give one of --remove, --silence and --unsilence at a time")
    hello = Hello(Role.LISTEN, room, "moderator", token=token)
    moderator = asyncio.run(_moderate(url, ca, hello, asked[0] if asked else None))
    for member in moderator.present:
        click.echo(_json(member) if as_json else _line(member))
    if moderator.mistake:
        raise ConfigError(moderator.mistake)


async def _moderate(
    url: str, ca: Path | None, hello: Hello, said: Remove | Silence | None
) -> _Moderator:
    """One that has been answered. Raises ConfigError, ConnectionRefused."""
    moderator = _Moderator(said, hello.room)
    transport = RelayTransport(url, hello, [moderator], MonotonicClock(), ca=ca)
    moderator.begin(transport)
    running = asyncio.ensure_future(transport.run())
    answered = asyncio.ensure_future(moderator.answered.wait())
    try:
        await asyncio.wait(
            {running, answered}, timeout=ANSWER_LIMIT_S, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        answered.cancel()
        transport.close()
        await running
    if not moderator.answered.is_set():
        raise ConfigError(f"{url} has not said who is in room {hello.room}")
    return moderator


def _line(member: Present) -> str:
    silenced = "  silenced" if member.silenced else ""
    return f"{member.member:6}  {member.role:6}  {member.address:15}  {member.name}{silenced}"


def _json(member: Present) -> str:
    return json.dumps(
        {
            "member": member.member,
            "role": str(member.role),
            "address": member.address,
            "name": member.name,
            "silenced": member.silenced,
        }
    )
