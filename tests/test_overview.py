"""What an operator sees of rooms over HTTP, and tokens that come in a request's header."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from relay_clients import INFO, closing_code, member, relay
from streamcodec.wire.message_json import parse_message, serialize_message
from streamcodec.wire.session import SUBPROTOCOL, CloseCode, Hello, Role, Welcome
from streamcodec_server.members import Room
from streamcodec_server.overview import MOST_LISTED, bearer_of
from streamcodec_server.tokens import Grant, Keys, new_key

NOW = time.time()


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    path = tmp_path / "keys.toml"
    path.write_text("[keys]\n" + new_key("one"))
    return Keys(path)


def signed(keys: Keys, *rooms: str, moderate: bool = True) -> str:
    return keys.sign(Grant(rooms, moderate=moderate), 3_600, NOW)


async def asked(url: str, path: str, token: str = "") -> tuple[int, Any, str | None]:
    """-> status, body (parsed where it is JSON), and how to authenticate."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url.replace("ws", "http", 1) + path, headers=headers)

    def ask() -> tuple[int, str, str | None]:
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.read().decode(), None
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), error.headers["WWW-Authenticate"]

    status, body, scheme = await asyncio.to_thread(ask)
    return status, json.loads(body) if status == 200 else body, scheme


async def test_a_moderator_of_all_rooms_sees_them_and_who_is_there(keys: Keys) -> None:
    token = signed(keys, "*")
    async with (
        relay(keys=keys) as (_, clock, url),
        member(url, Hello(Role.TALK, "hall", "Ada", INFO, token=token)),
        member(url, Hello(Role.LISTEN, "hall", token=token)),
        member(url, Hello(Role.BOTH, "a/b c", "Eve", INFO, token=token)),
    ):
        clock.now_ms += 1_500.0
        status, listed, _ = await asked(url, "/rooms", token)
        assert status == 200
        assert listed == {
            "rooms": [
                {"name": "hall", "talkers": 1, "listeners": 1},
                {"name": "a/b c", "talkers": 1, "listeners": 1},
            ],
            "left_out": 0,
        }
        status, hall, _ = await asked(url, "/rooms/hall?x=1", token)
        assert [(m["name"], m["role"]) for m in hall["members"]] == [
            ("Ada", "talk"),
            ("", "listen"),
        ]
        assert hall["members"][0] == {
            "member": hall["members"][0]["member"],
            "name": "Ada",
            "role": "talk",
            "address": "127.0.0.1",
            "elsewhere": False,
            "seconds": 1.5,
            "dropped": 0,
            "muted": False,
            "silenced": False,
        }
        status, other, _ = await asked(url, "/rooms/a%2Fb%20c", token)
        assert [m["name"] for m in other["members"]] == ["Eve"]


async def test_others_see_what_their_token_moderates_or_nothing(keys: Keys) -> None:
    everywhere = signed(keys, "*")
    async with (
        relay(keys=keys) as (_, _, url),
        member(url, Hello(Role.LISTEN, "hall", token=everywhere)),
        member(url, Hello(Role.LISTEN, "secret", token=everywhere)),
    ):
        mine = signed(keys, "hall")
        _, listed, _ = await asked(url, "/rooms", mine)
        assert [room["name"] for room in listed["rooms"]] == ["hall"]
        hidden = await asked(url, "/rooms/secret", mine)
        assert hidden == await asked(url, "/rooms/nowhere", mine)
        assert hidden[0] == 404
        assert (await asked(url, "/rooms", signed(keys, "*", moderate=False)))[0] == 403
        assert await asked(url, "/rooms") == (401, "this relay asks for a token\n", "Bearer")
        assert (await asked(url, "/rooms", "x.y.z"))[::2] == (401, "Bearer")
    async with relay() as (_, _, url):
        status, why, _ = await asked(url, "/rooms", everywhere)
        assert (status, why) == (403, "this relay has no --keys: nobody can show who they are\n")


async def test_a_long_list_is_cut_and_says_so(keys: Keys) -> None:
    token = signed(keys, "*")
    async with relay(keys=keys) as (running, _, url):
        running.rooms.rooms.update({f"r{n}": Room(f"r{n}") for n in range(MOST_LISTED + 7)})
        _, listed, _ = await asked(url, "/rooms", token)
        assert (len(listed["rooms"]), listed["left_out"]) == (MOST_LISTED, 7)


async def joined_with(url: str, header: str, said: Hello) -> object:
    async with connect(
        url,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        additional_headers={"Authorization": header},
        proxy=None,
    ) as connection:
        await connection.send(serialize_message(said))
        answer = parse_message(str(await connection.recv()))
        return answer if isinstance(answer, Welcome) else (await closing_code(connection))[0]


async def test_a_token_may_come_in_the_header_of_the_request(keys: Keys) -> None:
    good, other = signed(keys, "hall"), signed(keys, "elsewhere")
    async with relay(keys=keys) as (_, _, url):
        assert isinstance(
            await joined_with(url, f"Bearer {good}", Hello(Role.LISTEN, "hall")), Welcome
        )
        # what the client says itself counts
        said = Hello(Role.LISTEN, "hall", token=other)
        assert await joined_with(url, f"Bearer {good}", said) == CloseCode.FORBIDDEN
        for header in (f"Basic {good}", "Bearer", f"bearer{good}"):
            refused = await joined_with(url, header, Hello(Role.LISTEN, "hall"))
            assert refused == CloseCode.UNAUTHORIZED


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        (["Bearer a.b"], "a.b"),
        (["Bearer  a.b "], "a.b"),
        (["Basic a"], ""),
        ([], ""),
        (["Bearer a", "Bearer b"], ""),
        (["Basic x", "Bearer b"], "b"),
    ],
)
def test_one_header_names_a_token(headers: list[str], token: str) -> None:
    assert bearer_of(headers) == token
