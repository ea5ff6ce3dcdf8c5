"""Rooms in the page's first view, in a real browser: named, remembered, and listed where the relay
says so; and how the page says what it has to say.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from streamcodec_bench.browser import chromium, join, missing
from streamcodec_bench.live_session import PROGRAM, started
from streamcodec_server.room_list import ROOMS_PATH
from streamcodec_server.tokens import new_key
from test_page_browser import PATIENCE_MS, opened, serving, shown

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page, Route

package = missing()
pytestmark = pytest.mark.skipif(package is not None, reason=f"no browser to test with: {package}")

RECENT = "streamcodec.rooms"
# The page's time is the test's: lists are asked for again after some seconds of it.
AGAIN_MS = 10_000


@pytest.fixture(scope="module")
def link() -> Iterator[str]:
    """Of the page of a relay that lists its rooms."""
    with serving("--port", "0", "--list-rooms") as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[BrowserContext]:
    with chromium(arguments=("--use-fake-device-for-media-stream",)) as it:
        it.set_default_timeout(PATIENCE_MS)
        yield it


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    with opened(browser) as page:
        yield page
        if page.url.startswith("http"):
            page.evaluate("localStorage.clear()")


@contextlib.contextmanager
def listening(link: str, room: str) -> Iterator[subprocess.Popen[str]]:
    """Somebody who is there until the end."""
    url = link.replace("http", "ws", 1).rstrip("/")
    where = ["--url", url, "--room", room, "--name", "Ada", "--sink", "null", "--json"]
    with started([*PROGRAM, "listen", *where], subprocess.DEVNULL) as process:
        yield process


def room_field(page: Page) -> Locator:
    return page.get_by_label("Room", exact=True)


def room_button(page: Page, name: str) -> Locator:
    """Of the rooms that are open."""
    return page.get_by_role("region", name="Rooms open now").get_by_role("button", name=name)


def recent(page: Page) -> list[str]:
    return json.loads(page.evaluate(f"localStorage.getItem('{RECENT}') ?? '[]'"))


class Answers:
    """What the relay says of its rooms, as a test wants it."""

    def __init__(self, page: Page) -> None:
        self.rooms: list[tuple[str, int, int]] = []
        self.left_out, self.status, self.asked = 0, 200, 0
        self.sent: dict[str, str] = {}
        page.route(f"**{ROOMS_PATH}", self._answer)
        page.clock.install()

    def _answer(self, route: Route) -> None:
        self.asked += 1
        self.sent = route.request.headers
        keys = ("name", "talkers", "only_listening")
        rooms = [dict(zip(keys, room, strict=True)) for room in self.rooms]
        route.fulfill(status=self.status, json={"rooms": rooms, "left_out": self.left_out})


def again(page: Page, answers: Answers) -> None:
    """Until the page has asked once more, and shown the answer."""
    with page.expect_response(f"**{ROOMS_PATH}"):
        page.clock.run_for(AGAIN_MS)
    page.evaluate("new Promise(done => queueMicrotask(done))")


def not_asked(page: Page, answers: Answers, times: int = 1) -> None:
    """However often it might have been meanwhile."""
    before = answers.asked
    page.clock.run_for(times * AGAIN_MS)
    page.evaluate("fetch('/healthz')")  # comes after what was asked before
    assert answers.asked == before


def test_a_room_that_is_typed_is_joined(link: str, page: Page) -> None:
    page.goto(f"{link}?room=hall")
    assert room_field(page).input_value() == "hall"
    room_field(page).fill("  team\u00a0red\u200b ")
    room_field(page).press("Enter")
    shown(page, "Connected")
    assert page.get_by_role("heading", level=1).inner_text() == "team red"
    assert page.url == f"{link}?room=team+red"
    assert page.title().startswith("team red ")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "Type the name of a room."),
        ("\u200b\n", "Type the name of a room."),
        ("x" * 65, "This name has 65 characters: at most 64 are allowed."),
    ],
)
def test_a_name_that_no_relay_would_take_is_refused(
    name: str, said: str, link: str, page: Page
) -> None:
    page.goto(f"{link}?room=hall")
    room_field(page).fill(name)
    page.get_by_role("button", name="Listen", exact=True).click()
    shown(page, said)
    assert room_field(page).get_attribute("aria-invalid") == "true"
    assert page.evaluate("document.activeElement.labels[0].innerText") == "Room"
    assert page.get_by_text("Connected").count() == 0
    assert page.url == f"{link}?room=hall"
    room_field(page).fill("🎵" * 64)  # two units of UTF-16 each
    assert room_field(page).get_attribute("aria-invalid") == "false"
    page.get_by_role("button", name="Listen", exact=True).click()
    shown(page, "Connected")


def test_rooms_one_was_in_are_kept_and_forgotten_one_by_one(link: str, page: Page) -> None:
    for room in ("attic", "hall"):
        join(page, f"{link}?room={room}")
        shown(page, "Connected")
        page.get_by_role("button", name="Leave").click()
    kept = page.get_by_role("region", name="Rooms you were in")
    kept.get_by_role("button", name="attic", exact=True).click()
    assert room_field(page).input_value() == "attic"
    assert page.url == f"{link}?room=attic"
    assert page.evaluate("document.activeElement.innerText") == "Listen"
    kept.get_by_role("button", name="Forget hall").click()
    assert recent(page) == ["attic"]
    assert page.evaluate("document.activeElement.ariaLabel") == "Forget attic"
    page.keyboard.press("Enter")
    assert recent(page) == []
    assert kept.count() == 0


def test_a_room_that_does_not_let_one_in_is_not_remembered(page: Page) -> None:
    with serving("--port", "0", "--rooms", "hall") as link:
        join(page, f"{link}?room=attic")
        page.locator(".said").get_by_text("room").wait_for()
        assert recent(page) == []


@pytest.mark.parametrize("kept", ["{", "null", '[1, "", " x", "a\\u200bb"]'])
def test_what_else_lies_in_the_browser_is_no_room(kept: str, link: str, page: Page) -> None:
    page.goto(link)
    page.evaluate(f"localStorage.setItem('{RECENT}', {json.dumps(kept)})")
    page.goto(link)
    assert page.get_by_role("region", name="Rooms you were in").count() == 0
    room_field(page).wait_for()


def test_tokens_go_along_to_other_rooms_and_are_kept_until_the_tab_is_closed(
    page: Page, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text("[keys]\n" + new_key("first") + "\n")
    make = [*PROGRAM, "token", "--keys", str(keys), "--room", "team-*"]
    token = subprocess.run(make, capture_output=True, text=True, check=True).stdout.split()[-1]
    with serving("--port", "0", "--keys", str(keys), "--list-rooms") as link:
        with page.expect_response(f"**{ROOMS_PATH}") as answer:
            page.goto(f"{link}?room=team-red")
        assert answer.value.status == 401
        assert page.get_by_role("heading", name="Rooms open now").count() == 0
        page.goto("about:blank")
        join(page, f"{link}?room=team-red#token={token}")
        shown(page, "Connected")
        with opened(page.context) as other:
            other.goto(f"{link}?room=team-blue#token={token}")
            room_button(other, "team-red 1 listening").click()
            other.get_by_role("button", name="Listen", exact=True).click()
            shown(other, "Connected")
        page.get_by_role("button", name="Change room").click()
        assert page.evaluate("document.activeElement.labels[0].innerText") == "Room"
        room_field(page).fill("team-green")
        room_field(page).press("Enter")
        shown(page, "Connected")
        page.reload()
        page.get_by_role("button", name="Listen", exact=True).click()
        shown(page, "Connected")
        assert token not in page.evaluate("JSON.stringify(localStorage)")
        assert token not in page.url


def test_rooms_that_are_open_are_listed_and_chosen(link: str, page: Page) -> None:
    with listening(link, "<b>hall"), opened(page.context) as other:
        join(other, f"{link}?room=hall", talks=True)
        shown(other, "on air")
        page.goto(link)
        room_button(page, "<b>hall 1 listening").wait_for()
        room_button(page, "hall 1 talking").focus()
        page.keyboard.press("Enter")
        assert room_field(page).input_value() == "hall"
        page.keyboard.press("Enter")  # the focus has gone on to "Listen"
        shown(page, "Connected")


def test_a_link_for_listening_names_no_other_room(link: str, page: Page) -> None:
    answers = Answers(page)
    page.goto(f"{link}?room=hall&listen")
    page.get_by_role("heading", name="hall").wait_for()
    assert room_field(page).count() == 0
    not_asked(page, answers)
    join(page, f"{link}?room=hall&listen")
    shown(page, "Connected")
    assert page.get_by_role("button", name="Change room").count() == 0
    assert answers.asked == 0


def test_a_relay_that_lists_nothing_is_not_asked(page: Page) -> None:
    answers = Answers(page)
    with serving("--port", "0") as link:
        page.goto(link)
        room_field(page).wait_for()
        not_asked(page, answers)
        assert answers.asked == 0


def test_a_list_that_is_renewed_stays_calm(link: str, page: Page) -> None:
    answers = Answers(page)
    answers.rooms = [("attic", 2, 0), ("hall", 0, 1), ("gone", 1, 1)]
    page.goto(link)
    room_button(page, "gone 1 talking, 1 listening").focus()
    names = page.locator(".open-rooms .name")
    answers.rooms, answers.left_out = [("new", 9, 0), ("hall", 5, 0), ("attic", 1, 0)], 3
    again(page, answers)
    room_button(page, "gone empty").wait_for()
    assert names.all_inner_texts() == ["attic", "hall", "gone", "new"]
    assert page.evaluate("document.activeElement.innerText").startswith("gone")
    shown(page, "And 3 more, with fewer people.")
    page.keyboard.press("Shift+Tab")
    again(page, answers)
    room_button(page, "gone").wait_for(state="detached")
    answers.rooms, answers.left_out = [], 0
    page.get_by_role("heading", name="Join a room").focus()
    again(page, answers)
    shown(page, "None. A room opens when the first person joins it.")


def test_nobody_is_asked_where_nobody_looks(link: str, page: Page) -> None:
    answers = Answers(page)
    answers.rooms = [("hall", 1, 0)]
    page.goto(f"{link}?room=hall")
    room_button(page, "hall").wait_for()
    again(page, answers)
    assert answers.asked == 2
    see = "state => { Object.defineProperty(document, 'visibilityState', { get: () => state, "
    see += "configurable: true }); document.dispatchEvent(new Event('visibilitychange')) }"
    page.evaluate(see, "hidden")
    not_asked(page, answers, times=10)
    with page.expect_response(f"**{ROOMS_PATH}"):
        page.evaluate(see, "visible")
    page.get_by_role("button", name="Listen", exact=True).click()
    shown(page, "Connected")
    not_asked(page, answers, times=10)
    with page.expect_response(f"**{ROOMS_PATH}"):
        page.get_by_role("button", name="Leave").click()


def test_a_relay_that_does_not_answer_is_asked_less_often(link: str, page: Page) -> None:
    answers = Answers(page)
    answers.rooms = [("hall", 1, 0)]
    page.goto(link)
    room_button(page, "hall").wait_for()
    answers.status = 503
    again(page, answers)
    shown(page, "The relay does not answer. Trying again.")
    assert room_button(page, "hall").count() == 0
    not_asked(page, answers)
    answers.status = 200
    again(page, answers)
    room_button(page, "hall").wait_for()


def test_who_has_no_token_sees_no_list_and_asks_once(link: str, page: Page) -> None:
    answers = Answers(page)
    answers.status = 401
    with page.expect_response(f"**{ROOMS_PATH}"):
        page.goto(link)
    not_asked(page, answers, times=10)
    assert (answers.asked, "authorization" in answers.sent) == (1, False)
    assert room_button(page, "").count() == 0


def test_fifty_rooms_with_long_names_fit_on_a_phone(link: str, page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    answers = Answers(page)
    answers.rooms = [(f"{n}" + "W" * 60, 10_000, 10_000) for n in range(50)]
    page.goto(f"{link}?room={'W' * 64}")
    page.evaluate(f"localStorage.setItem('{RECENT}', JSON.stringify(['{'W' * 64}']))")
    page.reload()
    room_button(page, "49WW").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_help_closes_as_it_says(link: str, page: Page) -> None:
    join(page, f"{link}?room=hall")
    shown(page, "Connected")
    help_ = page.get_by_role("dialog", name="Keyboard shortcuts")
    for key in ("Escape", "?"):
        page.keyboard.press("?")
        help_.wait_for()
        page.keyboard.press(key)
        help_.wait_for(state="hidden")
    page.keyboard.press("?")
    help_.wait_for()
    # As programs do that press keys for people: browsers take no notice of these.
    pressed = "new KeyboardEvent('keydown', { key: 'Escape', bubbles: true })"
    page.evaluate(f"document.activeElement.dispatchEvent({pressed})")
    help_.wait_for(state="hidden")


@pytest.mark.parametrize("has_clipboard", [True, False])
def test_a_link_that_cannot_be_copied_is_shown(has_clipboard: bool, link: str, page: Page) -> None:
    refuse = "{ writeText: () => Promise.reject(new DOMException('no', 'NotAllowedError')) }"
    value = refuse if has_clipboard else "undefined"
    page.add_init_script(f"Object.defineProperty(navigator, 'clipboard', {{ value: {value} }})")
    join(page, f"{link}?room=hall")
    shown(page, "Connected")
    page.get_by_role("contentinfo").get_by_role("button", name="Copy link").click()
    shown(page, "The browser does not let this page copy.")
    selected = "f => f.value.slice(f.selectionStart, f.selectionEnd)"
    assert page.locator("input:focus").evaluate(selected) == f"{link}?room=hall"
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog").count() == 0


def test_a_link_to_this_computer_says_how_others_get_in(link: str, page: Page) -> None:
    page.goto(link)
    said = "This link works on this computer only. To let others in, start the relay with"
    shown(page, said)
    flags = page.get_by_text(said).inner_text()
    for flag in re.findall(r"--\w+", flags):
        assert f"{flag} " in subprocess.run(
            [*PROGRAM, "serve", "--help"], capture_output=True, text=True, check=True
        ).stdout.replace("\n", " ")
    page.goto(f"{link}?room={quote('a b')}&listen")  # of an audience
    page.get_by_role("heading", name="a b").wait_for()
    assert page.get_by_text(said).count() == 0
