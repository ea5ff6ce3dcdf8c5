"""What moderators may do, and nobody else."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from relay_clients import PATIENCE_S, closing_code, member, next_media, relay
from room_members import (
    INFO,
    Outlet,
    control,
    distribute,
    drain,
    leave,
    media,
    number,
    outlets,
    publish,
)
from streamcodec.wire.message_json import serialize_message
from streamcodec.wire.packet import Flags, Packet, serialize
from streamcodec.wire.session import (
    SUBPROTOCOL,
    CloseCode,
    Hello,
    Members,
    Mute,
    Present,
    Remove,
    Role,
    Silence,
    Silenced,
    StreamStart,
    Who,
)
from streamcodec_server.limits import RoomLimits
from streamcodec_server.members import Member
from streamcodec_server.moderation import MOST_SANCTIONS, Sanctions
from streamcodec_server.refused import Refused
from streamcodec_server.rooms import Rooms
from streamcodec_server.tokens import Grant, Keys, new_key


def join(
    rooms: Rooms,
    role: Role,
    name: str,
    *,
    room: str = "a",
    token: str = "",
    address: str = "192.0.2.1",
    moderates: bool = False,
    now_ms: float = 0.0,
    resume: str = "",
) -> Member:
    outlet = Outlet()
    info = INFO if role.talks else None
    hello = Hello(role, room, name, info, token=token or name, resume=resume)
    joined = rooms.join(hello, outlet, address, now_ms, moderates=moderates)
    outlets[joined] = outlet
    distribute(rooms, now_ms)
    return joined


@pytest.fixture
def rooms() -> Rooms:
    return Rooms(RoomLimits(sanction_s=60))


def moderator_of(rooms: Rooms) -> Member:
    moderator = join(rooms, Role.LISTEN, "Mod", moderates=True)
    drain(moderator)
    return moderator


def test_a_moderator_sees_who_is_there(rooms: Rooms) -> None:
    moderator = moderator_of(rooms)
    ada = join(rooms, Role.BOTH, "Ada", address="192.0.2.7")
    drain(moderator)
    control(rooms, moderator, Who())
    present = (
        Present(moderator.number, "Mod", Role.LISTEN, None, False, "192.0.2.1"),
        Present(ada.number, "Ada", Role.BOTH, number(ada), False, "192.0.2.7"),
    )
    assert drain(moderator) == [Members(present, more=False)]


def test_many_members_come_in_messages_of_the_size_that_is_allowed(rooms: Rooms) -> None:
    moderator = moderator_of(rooms)
    names = ["\N{GRINNING FACE}" * 60 + str(n) for n in range(100)]
    for name in names:
        join(rooms, Role.LISTEN, name)
    control(rooms, moderator, Who())
    answers = [m for m in drain(moderator) if isinstance(m, Members)]
    assert [m.more for m in answers] == [True] * (len(answers) - 1) + [False]
    assert [p.name for m in answers for p in m.members] == ["Mod", *names]


def test_who_is_silenced_is_heard_by_nobody_and_told_so(rooms: Rooms) -> None:
    moderator, ada = moderator_of(rooms), join(rooms, Role.TALK, "Ada")
    lis = join(rooms, Role.LISTEN, "Lis")
    drain(ada), drain(lis)
    control(rooms, moderator, Silence(ada.number, True))
    publish(rooms, ada, media(0))
    control(rooms, ada, Mute(False))
    assert drain(ada) == [Silenced(True)]
    assert drain(lis) == [Mute(True, number(ada))]
    later = join(rooms, Role.LISTEN, "Late")
    assert Mute(True, number(ada)) in drain(later)
    control(rooms, moderator, Silence(ada.number, False))
    publish(rooms, ada, media(1), 20.0)
    assert drain(ada) == [Silenced(False)]
    unmuted, packet = drain(lis, 20.0)
    assert unmuted == Mute(False, number(ada))
    assert isinstance(packet, Packet)
    assert packet.sequence == 1


def test_who_muted_itself_stays_muted_when_it_may_speak_again(rooms: Rooms) -> None:
    moderator, ada = moderator_of(rooms), join(rooms, Role.TALK, "Ada")
    control(rooms, ada, Mute(True))
    control(rooms, moderator, Silence(ada.number, True))
    control(rooms, moderator, Silence(ada.number, False))
    assert [m for m in drain(moderator) if isinstance(m, Mute)][-1] == Mute(True, number(ada))


@pytest.mark.parametrize("resumes", [False, True])
def test_who_is_silenced_stays_so_over_another_connection(rooms: Rooms, resumes: bool) -> None:
    moderator, ada = moderator_of(rooms), join(rooms, Role.TALK, "Ada")
    control(rooms, moderator, Silence(ada.number, True))
    leave(rooms, ada)
    again = join(rooms, Role.TALK, "Ada", resume=ada.session if resumes else "")
    assert Silenced(True) in drain(again)
    drain(moderator)
    publish(rooms, again, media(0))
    assert drain(moderator) == []
    leave(rooms, again)
    after = join(rooms, Role.TALK, "Ada", now_ms=60_000.0)
    publish(rooms, after, media(0), 60_000.0)
    assert any(isinstance(m, Packet) for m in drain(moderator, 60_000.0))


def test_who_is_removed_goes_and_does_not_come_back_for_a_time(rooms: Rooms) -> None:
    moderator, ada = moderator_of(rooms), join(rooms, Role.TALK, "Ada")
    control(rooms, moderator, Remove(ada.number))
    dismissed = outlets[ada].dismissed
    assert dismissed is not None
    assert dismissed[0] is CloseCode.FORBIDDEN
    leave(rooms, ada)
    with pytest.raises(Refused, match="a moderator has removed this member") as refused:
        join(rooms, Role.TALK, "Ada", now_ms=59_000.0)
    assert refused.value.code is CloseCode.FORBIDDEN
    join(rooms, Role.TALK, "Ada", room="another", now_ms=59_000.0)
    join(rooms, Role.TALK, "Ada", token="another", now_ms=59_000.0)
    join(rooms, Role.TALK, "Ada", address="192.0.2.9", now_ms=59_000.0)
    join(rooms, Role.TALK, "Ada", now_ms=60_000.0)


@pytest.mark.parametrize("message", [Who(), Remove(1), Silence(1, True)])
def test_nobody_else_moderates(rooms: Rooms, message: Who | Remove | Silence) -> None:
    join(rooms, Role.TALK, "Ada")
    lis = join(rooms, Role.LISTEN, "Lis")
    with pytest.raises(Refused, match="only a token with moderate") as refused:
        control(rooms, lis, message)
    assert refused.value.code is CloseCode.FORBIDDEN


def test_who_has_left_and_who_only_listens_cannot_be_silenced(rooms: Rooms) -> None:
    moderator, lis = moderator_of(rooms), join(rooms, Role.LISTEN, "Lis")
    control(rooms, moderator, Silence(lis.number, True))
    control(rooms, moderator, Silence(99, True))
    control(rooms, moderator, Remove(99))
    assert drain(moderator) == []


def test_a_moderator_of_one_room_has_no_say_in_another(rooms: Rooms) -> None:
    moderator, ada = moderator_of(rooms), join(rooms, Role.TALK, "Ada", room="b")
    control(rooms, moderator, Remove(ada.number))
    assert outlets[ada].dismissed is None


def test_the_oldest_sanctions_are_forgotten() -> None:
    sanctions = Sanctions(1e9)
    for n in range(MOST_SANCTIONS + 1):
        sanctions.remove(("a", str(n), ""), float(n))
    assert not sanctions.is_removed(("a", "0", ""), 0.0)
    assert sanctions.is_removed(("a", "1", ""), 0.0)


# --- with real connections -----------------------------------------------------------------------


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    file = tmp_path / "keys.toml"
    file.write_text("[keys]\n" + new_key("one"))
    return Keys(file)


async def moderate(url: str, token: str, *flags: object) -> tuple[list[dict[str, object]], str]:
    """Who is there then, and what the command complained of: then its status is 2."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamcodec_client", "moderate", "--url", url, "--room", "a"),
        *("--token", token, "--json", *map(str, flags)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_S):
        output, errors = await process.communicate()
    assert (process.returncode == 2) is (errors != b"")
    return [json.loads(line) for line in output.splitlines()], errors.decode()


async def test_the_command_shows_silences_and_removes(keys: Keys) -> None:
    def token(name: str, moderates: bool = False) -> str:
        return keys.sign(Grant(("a",), name=name, moderate=moderates), 60, time.time())

    boss = token("Boss", moderates=True)
    ada_hello = Hello(Role.TALK, "a", "?", INFO, token=token("Ada"))
    async with (
        relay(keys=keys) as (_, _, url),
        member(url, ada_hello) as (ada, _),
        member(url, Hello(Role.LISTEN, "a", token=token("Lis"))) as (lis, _),
    ):
        present, complaint = await moderate(url, boss)
        assert complaint == ""
        assert [p["name"] for p in present] == ["Ada", "Lis", "Boss"]
        assert [p["silenced"] for p in present] == [False] * 3
        ada_number = present[0]["member"]
        present, _ = await moderate(url, boss, "--silence", ada_number)
        assert [p["silenced"] for p in present] == [True, False, False]
        await ada.send(serialize(Packet(Flags.RESET, 0, 0, 0, b"unheard")))
        await moderate(url, boss, "--unsilence", ada_number)
        await ada.send(serialize(Packet(Flags.RESET, 0, 1, 320, b"heard")))
        assert (await next_media(lis)).payload == b"heard"
        present, _ = await moderate(url, boss, "--remove", ada_number)
        assert [p["name"] for p in present] == ["Lis", "Boss"]
        code, reason = await closing_code(ada)
        assert code == CloseCode.FORBIDDEN
        assert "a moderator has removed" in reason
        present, complaint = await moderate(url, token("Lis"))
        assert present == []
        assert "only a token with moderate allows that" in complaint
        present, complaint = await moderate(url, boss, "--remove", 1, "--silence", 2)
        assert "one of --remove, --silence and --unsilence" in complaint


async def test_the_command_refuses_a_number_that_means_nobody(keys: Keys) -> None:
    def token(name: str, moderates: bool = False) -> str:
        return keys.sign(Grant(("a",), name=name, moderate=moderates), 60, time.time())

    boss = token("Boss", moderates=True)
    async with (
        relay(keys=keys) as (_, _, url),
        member(url, Hello(Role.LISTEN, "a", token=token("Lis"))),
    ):
        for flag in ("--remove", "--silence", "--unsilence"):
            present, complaint = await moderate(url, boss, flag, 999)
            assert [p["name"] for p in present] == ["Lis", "Boss"]  # whose numbers are allowed
            assert complaint.startswith("streamcodec: no member 999 in room a: give the number")
        for flag in ("--silence", "--unsilence"):
            present, complaint = await moderate(url, boss, flag, present[0]["member"])
            assert [p["name"] for p in present] == ["Lis", "Boss"]
            assert "of room a only listens: give the number of one who talks" in complaint


async def test_a_removed_member_is_told_at_its_next_attempt(keys: Keys) -> None:
    token = keys.sign(Grant(("a",), name="Ada"), 60, time.time())
    hello = Hello(Role.TALK, "a", "?", INFO, token=token)
    async with relay(keys=keys) as (running, _, url):
        async with member(url, hello) as (ada, _):
            (joined,) = running.rooms.rooms["a"].members
            moderator = join(running.rooms, Role.LISTEN, "Mod", moderates=True)
            running.rooms.control(moderator, Remove(joined.number), running.clock())
            assert (await closing_code(ada))[0] == CloseCode.FORBIDDEN
        async with asyncio.timeout(PATIENCE_S):
            while any(m.name == "Ada" for m in running.rooms.rooms["a"].members):
                await asyncio.sleep(0.01)
        async with connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None) as again:
            await again.send(serialize_message(hello))
            code, reason = await closing_code(again)
        assert (code, "removed this member" in reason) == (CloseCode.FORBIDDEN, True)


def test_stream_starts_of_silenced_talkers_are_followed_by_their_mute(rooms: Rooms) -> None:
    moderator, ada = moderator_of(rooms), join(rooms, Role.TALK, "Ada")
    control(rooms, moderator, Silence(ada.number, True))
    leave(rooms, ada)
    drain(moderator)
    again = join(rooms, Role.TALK, "Ada")
    told = drain(moderator)
    assert isinstance(told[0], StreamStart)
    assert told[1:] == [Mute(True, number(again))]
