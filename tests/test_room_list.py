"""`streamcodec serve --web --list-rooms`: which rooms are open, for the page and nobody else's."""

from __future__ import annotations

import asyncio
import json
import time
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from relay_clients import INFO, PATIENCE_S, listeners, member, relay
from stand_in_page import stand_in_page
from streamcodec.errors import ConfigError
from streamcodec.wire.session import Hello, Role
from streamcodec_server.limits import RoomLimits
from streamcodec_server.members import Room
from streamcodec_server.pages import PROTECTION, Page
from streamcodec_server.room_list import FRESH_MS, MOST_SHOWN, ROOMS_PATH
from streamcodec_server.serve import serve
from streamcodec_server.tokens import Grant, Keys, new_key
from test_web_page import asked

SMALL = 2_000  # bytes of weights
NOW = time.time()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return stand_in_page(tmp_path_factory.mktemp("page"), SMALL, lists_rooms=True)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    path = tmp_path / "keys.toml"
    path.write_text("[keys]\n" + new_key("one"))
    return Keys(path)


def signed(keys: Keys, *rooms: str, moderate: bool = False) -> str:
    return keys.sign(Grant(rooms, moderate=moderate), 3_600, NOW)


async def listed(url: str, token: str = "", at: str | None = None) -> Any:
    headers = (f"Authorization: Bearer {token}",) if token else ()
    status, _, body = await asked(url, ROOMS_PATH, *headers, at=at)
    assert status == 200, body
    return json.loads(body)


async def refused(url: str, *headers: str, at: str | None = None) -> tuple[int, str, Message]:
    status, sent, body = await asked(url, ROOMS_PATH, *headers, at=at)
    return status, body.decode(), sent


async def test_names_and_numbers_and_nothing_else(page: Page) -> None:
    async with (
        relay(page=page) as (_, _, url),
        member(url, Hello(Role.TALK, "hall", "Ada", INFO)),
        member(url, Hello(Role.BOTH, "hall", "Bob", INFO)),
        member(url, Hello(Role.LISTEN, "hall", "Cy")),
        member(url, Hello(Role.LISTEN, "a/<b>", "Dan")),
    ):
        assert await listed(url) == {
            "rooms": [
                {"name": "hall", "talkers": 2, "only_listening": 1},
                {"name": "a/<b>", "talkers": 0, "only_listening": 1},
            ],
            "left_out": 0,
        }


async def test_the_answer_is_kept_nowhere_and_read_by_no_other_page(page: Page) -> None:
    async with relay(page=page) as (_, _, url):
        _, headers, _ = await asked(url, ROOMS_PATH)
        assert headers["Content-Type"] == "application/json"
        assert headers["Cache-Control"] == "no-store"
        assert PROTECTION.items() <= dict(headers).items()


async def test_no_relay_shows_rooms_unless_it_is_told_to(page: Page, tmp_path: Path) -> None:
    silent = stand_in_page(tmp_path, SMALL)
    async with relay(page=silent) as (_, _, url), member(url, Hello(Role.LISTEN, "secret")):
        status, _, body = await asked(url, ROOMS_PATH)
        assert (status, body) == (404, b"there is no such page\n")
        assert b'data-rooms=""' in (await asked(url, "/"))[2]
    async with relay(page=page) as (_, _, url):
        assert b'data-rooms="/page/rooms"' in (await asked(url, "/"))[2]


def test_without_a_page_there_is_nobody_to_show_them_to() -> None:
    with pytest.raises(ConfigError, match="give --web, too"):
        serve.main(["--list-rooms", "--port", "0"], standalone_mode=False)


async def test_a_token_shows_the_rooms_that_it_allows(page: Page, keys: Keys) -> None:
    everywhere = signed(keys, "*")
    async with (
        relay(page=page, keys=keys) as (_, _, url),
        member(url, Hello(Role.LISTEN, "team-red", token=everywhere)),
        member(url, Hello(Role.LISTEN, "team-blue", token=everywhere)),
        member(url, Hello(Role.LISTEN, "board", token=everywhere)),
    ):
        # All within the same second: nobody is given an answer that was made for others.
        for rooms, names in (
            (("team-*",), ["team-blue", "team-red"]),
            (("board", "hall"), ["board"]),
            (("*",), ["board", "team-blue", "team-red"]),
            ((), []),
        ):
            answer = await listed(url, signed(keys, *rooms))
            assert [room["name"] for room in answer["rooms"]] == names
            assert answer["left_out"] == 0
        # What operators see stays theirs.
        bearer = f"Authorization: Bearer {everywhere}"
        assert (await asked(url, "/rooms", bearer))[0] == 403
        for sent in ((), ("Authorization: Bearer x.y.z",), (bearer, bearer)):
            status, said, headers = await refused(url, *sent)
            assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
            assert "team" not in said


async def test_the_only_rooms_are_shown_while_they_are_empty_too(page: Page, keys: Keys) -> None:
    limits = RoomLimits(rooms=frozenset({"hall", "attic", "team-red"}))
    async with (
        relay(limits, page=page) as (_, _, url),
        member(url, Hello(Role.LISTEN, "hall")),
    ):
        shown = [(room["name"], room["only_listening"]) for room in (await listed(url))["rooms"]]
        assert shown == [("hall", 1), ("attic", 0), ("team-red", 0)]
    async with relay(limits, page=page, keys=keys) as (_, _, url):
        answer = await listed(url, signed(keys, "team-*"))
        assert [room["name"] for room in answer["rooms"]] == ["team-red"]


async def test_of_ten_thousand_rooms_the_fullest_are_shown(page: Page) -> None:
    rooms = {f"r{n:04}": Room(f"r{n:04}") for n in range(10_000)}
    for number, room in enumerate(rooms.values()):
        room.only_listening = 1 + number * 7 % 10_000
    async with relay(page=page) as (running, _, url):
        running.rooms.rooms.update(rooms)
        answer = await listed(url)
        people = [room["only_listening"] for room in answer["rooms"]]
        assert people == list(range(10_000, 10_000 - MOST_SHOWN, -1))
        assert answer["left_out"] == 10_000 - MOST_SHOWN


async def test_an_answer_is_made_once_a_second(page: Page) -> None:
    async with relay(page=page) as (running, clock, url):
        before = await listed(url)
        async with member(url, Hello(Role.LISTEN, "hall")):
            clock.now_ms += FRESH_MS - 1
            assert await listed(url) == before
            clock.now_ms += 1
            assert [room["name"] for room in (await listed(url))["rooms"]] == ["hall"]
        async with asyncio.timeout(PATIENCE_S):
            while listeners(running):
                await asyncio.sleep(0.01)
        clock.now_ms += FRESH_MS
        assert await listed(url) == before


@pytest.mark.parametrize("at", [None, "localhost:8765", "192.0.2.7", "voice.example.org:8765"])
async def test_a_relay_under_its_own_names_answers(page: Page, at: str | None) -> None:
    named = frozenset({"https://voice.example.org"})
    async with relay(page=page, origins=named) as (_, _, url):
        assert await listed(url, at=at) == {"rooms": [], "left_out": 0}


@pytest.mark.parametrize("at", ["evil.example", "evil.example:8765", "localhost.evil.example"])
async def test_a_foreign_name_that_points_here_is_told_nothing(page: Page, at: str) -> None:
    named = frozenset({"https://voice.example.org"})
    async with relay(page=page, origins=named) as (_, _, url), member(url, Hello(Role.LISTEN, "a")):
        status, said, _ = await refused(url, at=at)
        assert status == 403
        assert said.endswith(f"start the relay with --origin https://{at}\n")


async def test_other_pages_are_told_nothing(page: Page) -> None:
    async with relay(page=page) as (_, _, url):
        assert (await refused(url, "Origin: https://evil.example"))[0] == 403
        assert (await refused(url, "Host: localhost"))[0] == 403  # beside its own
        status, said, _ = await refused(url, at="a b")
        assert (status, said) == (403, "this relay does not know the page that connects\n")


def test_many_rooms_are_covered_as_each_one_is() -> None:
    names = ["hall", "Hall", "team-red", "a/b", "a\nb", "[x]", "x", "", "é", "team-"]
    for patterns in (("*",), ("team-?*",), ("hall", "[[]x]"), ("a?b",), ("[!h]*",), ()):
        grant = Grant(patterns)
        assert grant.covered(names) == {name for name in names if grant.covers(name)}
