"""The page in a real browser, against real relays, talkers and listeners."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from conftest import SPEECH
from streamcodec_bench.browser import chromium, join, missing
from streamcodec_bench.live_session import PROGRAM, line_with, started
from streamcodec_server.tokens import new_key

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

package = missing()
pytestmark = pytest.mark.skipif(package is not None, reason=f"no browser to test with: {package}")

ROOM = "room=hall"
PATIENCE_MS = 30_000  # other tests may run beside these
RATE, FULL_RATE = 16_000, 48_000
ALIKE = 0.8  # 0.98 and more were measured; of other speech up to 0.6
AUDIBLE = 1.0  # energy of half a second: -39 dB of full scale
NOT_ISOLATED = "Object.defineProperty(window, 'crossOriginIsolated', { value: false })"
TOO_OLD = "a talker that the page cannot hear"
# Lets a test hear what the page plays: its player's node, which nothing else reaches.
TAP = """
const Original = AudioWorkletNode;
window.AudioWorkletNode = class extends Original {
  constructor(...all) { super(...all); if (all[1] === 'streamcodec-player') window.player = this; }
};
window.heard = (seconds, channels) => new Promise(done => {
  const { context } = window.player, planes = Array.from({ length: channels }, () => []);
  const tap = context.createScriptProcessor(4096, channels, 1);
  let missing = seconds * context.sampleRate;
  tap.onaudioprocess = ({ inputBuffer }) => {
    if (missing <= 0) return;
    planes.forEach((plane, c) => plane.push(...inputBuffer.getChannelData(c)));
    missing -= inputBuffer.length;
    if (missing <= 0) done({ rate: context.sampleRate, planes });
  };
  window.player.connect(tap).connect(context.destination);
});
"""


@pytest.fixture(scope="module")
def link() -> Iterator[str]:
    """Of a relay's page."""
    with serving() as url:
        yield url


@pytest.fixture(scope="module")
def speech() -> NDArray[np.float32]:
    pcm, rate = soundfile.read(SPEECH, dtype="float32")
    assert rate == RATE
    return np.asarray(pcm)


@pytest.fixture(scope="module")
def microphone(speech: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("microphone") / "speech.wav"
    soundfile.write(path, with_hiss(speech), FULL_RATE)
    return path


@pytest.fixture(scope="module")
def browser(microphone: Path) -> Iterator[BrowserContext]:
    with chromium(microphone=microphone, settings={"name": "Eve", "autoGainControl": False}) as it:
        it.set_default_timeout(PATIENCE_MS)
        it.add_init_script(TAP)
        yield it


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    with opened(browser) as page:
        yield page


@contextlib.contextmanager
def opened(browser: BrowserContext) -> Iterator[Page]:
    """Fails where the page said that something in it is wrong."""
    page = browser.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    yield page
    page.close()
    assert wrong == []


@contextlib.contextmanager
def serving(*flags: str) -> Iterator[str]:
    command = [*PROGRAM, "serve", "--web", *(flags or ("--port", "0"))]
    with started(command) as relay:
        yield line_with(relay, "page on ").split("page on ")[1].split()[0]


@contextlib.contextmanager
def sending(link: str, name: str = "Ada", *flags: str) -> Iterator[subprocess.Popen[str]]:
    """Somebody who talks until the end."""
    url = link.replace("http", "ws", 1).rstrip("/")
    where = ["--url", url, "--room", "hall", "--name", name, "--source", str(SPEECH), "--json"]
    with started([*PROGRAM, "send", *where, *flags], subprocess.DEVNULL) as process:
        yield process


def shown(page: Page, text: str) -> None:
    """Waits for it."""
    page.get_by_text(text).first.wait_for()


def gone(page: Page, text: str) -> None:
    """Waits until it is not shown."""
    page.get_by_text(text).first.wait_for(state="hidden")


def with_hiss(speech: NDArray[np.float32]) -> NDArray[np.float32]:
    """At FULL_RATE, with noise above 9 kHz that swells as the voice does."""
    pcm = soxr.resample(speech, RATE, FULL_RATE)
    hiss = np.fft.rfft(np.random.default_rng(0).normal(0, 1, len(pcm)) * np.abs(pcm))
    hiss[: len(hiss) * 9_000 * 2 // FULL_RATE] = 0
    made: NDArray[np.float32] = (pcm + np.fft.irfft(hiss, len(pcm))).astype(np.float32)
    return made


def share_above_the_core(pcm: NDArray[np.float32], rate: int) -> float:
    """Of energy, above 9 kHz."""
    energies = np.square(np.abs(np.fft.rfft(pcm)))
    return float(energies[len(energies) * 9_000 * 2 // rate :].sum() / energies.sum())


def likeness(heard: NDArray[np.float32], said: NDArray[np.float32]) -> float:
    """Normalised correlation of half a second of what was heard with what was said, where the two
    fit best: playout that is still finding its delay plays some pieces faster. Both at RATE.
    """
    return max((alike for alike, _ in fits(heard, said).values()), default=0.0)


def fits(heard: NDArray[np.float32], said: NDArray[np.float32]) -> dict[int, tuple[float, int]]:
    """Of each audible half second of what was heard, by its first sample: normalised correlation
    with what was said where it fits best, and the sample at which that begins. Both at RATE.
    """
    size, length = len(said) + RATE, RATE // 2
    spectrum = np.fft.rfft(said, size)
    energies = np.convolve(np.square(said, dtype=np.float64), np.ones(length), "valid")
    found = {}
    for begin in range(0, len(heard) - length + 1, length):
        piece = heard[begin : begin + length].astype(np.float64)
        if (energy := float(np.square(piece).sum())) < AUDIBLE:
            continue
        products = np.fft.irfft(spectrum * np.conj(np.fft.rfft(piece, size)), size)
        alike = np.abs(products[: len(energies)]) / np.sqrt(energies * energy + 1e-9)
        found[begin] = float(alike.max()), int(alike.argmax())
    return found


def played(page: Page, seconds: float = 3) -> NDArray[np.float32]:
    """What a loudspeaker of one channel gets meanwhile, at RATE."""
    [pcm], rate = tapped(page, 1, seconds=seconds)
    return soxr.resample(pcm[:, 0], rate, RATE)


def tapped(page: Page, *channels: int, seconds: float = 3) -> tuple[list[NDArray[np.float32]], int]:
    """What loudspeakers of so many channels get meanwhile, [T, C] of each, and their rate."""
    taps = ", ".join(f"heard({seconds}, {count})" for count in channels)
    got = page.evaluate(f"Promise.all([{taps}])")
    return [np.array(one["planes"], np.float32).T for one in got], got[0]["rate"]


def test_the_page_hears_who_talks(link: str, page: Page, speech: NDArray[np.float32]) -> None:
    with sending(link):
        join(page, f"{link}?{ROOM}")
        shown(page, "talking")
        assert page.evaluate("crossOriginIsolated")
        assert likeness(played(page), speech) > ALIKE
        page.wait_for_function(r"/\b\d+ ms\b/.test(document.querySelector('main').innerText)")
    shown(page, "Ada left")


def test_listeners_hear_the_page(
    link: str, page: Page, speech: NDArray[np.float32], tmp_path: Path
) -> None:
    join(page, f"{link}?{ROOM}", talks=True)
    shown(page, "on air")
    url, out = link.replace("http", "ws", 1).rstrip("/"), tmp_path / "heard.wav"
    command = [*PROGRAM, "listen", "--url", url, "--room", "hall", "--name", "Bob"]
    with started([*command, "--sink", str(out), "--duration", "6"]) as listener:
        shown(page, "Listening: Bob")
        listener.communicate(timeout=60)
    heard, rate = soundfile.read(out, dtype="float32")
    assert rate == FULL_RATE
    # The browser takes most of the hiss for noise.
    assert share_above_the_core(heard, rate) > share_above_the_core(with_hiss(speech), rate) / 40
    assert likeness(soxr.resample(heard, rate, RATE), np.tile(speech, 2)) > ALIKE


@pytest.mark.parametrize("channels", [1, 2])
def test_full_band_and_stereo_are_heard(
    channels: int, link: str, page: Page, speech: NDArray[np.float32], tmp_path: Path
) -> None:
    path, pcm = tmp_path / "full.wav", with_hiss(speech)
    soundfile.write(path, np.stack([pcm] * channels, 1), FULL_RATE)
    with sending(link, "Ada", "--source", str(path)):
        join(page, f"{link}?{ROOM}")
        shown(page, "talking")
        [heard], rate = tapped(page, 1)
        assert likeness(soxr.resample(heard[:, 0], rate, RATE), speech) > ALIKE
        wanted = share_above_the_core(pcm, FULL_RATE)
        assert wanted / 4 < share_above_the_core(heard[:, 0], rate) < 4 * wanted


@pytest.mark.parametrize("shared", [True, False])
def test_left_and_right_are_heard_apart_and_together_in_time(
    shared: bool, link: str, page: Page, speech: NDArray[np.float32], tmp_path: Path
) -> None:
    if not shared:
        page.add_init_script(NOT_ISOLATED)
    said = np.stack([speech, speech[::-1]], 1)
    soundfile.write(tmp_path / "two.wav", said, RATE)
    with sending(link, "Ada", "--source", str(tmp_path / "two.wav")):
        join(page, f"{link}?{ROOM}")
        shown(page, "talking")
        assert page.evaluate("crossOriginIsolated") == shared
        [pcm, mean], rate = tapped(page, 2, 1, seconds=4)
    left, right = soxr.resample(pcm, rate, RATE).T
    assert likeness(left, speech) > ALIKE > likeness(left, speech[::-1])
    assert likeness(right, speech[::-1]) > ALIKE > likeness(right, speech)
    ones, others = fits(left, speech), fits(right, speech[::-1])
    pairs = [(ones[begin], others[begin]) for begin in ones.keys() & others.keys()]
    apart = [abs(one[1] - other[1]) for one, other in pairs if min(one[0], other[0]) > ALIKE]
    assert apart
    assert np.median(apart) <= RATE // 1000
    # A loudspeaker of one channel plays the mean, as loud as that is.
    assert np.std(mean) == pytest.approx(np.std(pcm.mean(1)), rel=0.1)
    assert likeness(soxr.resample(mean[:, 0], rate, RATE), (left + right) / 2) > 0.99


def test_who_comes_back_with_one_channel_is_heard_on_both_sides(
    link: str, page: Page, speech: NDArray[np.float32], tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "two.wav", np.stack([speech, speech[::-1]], 1), RATE)
    join(page, f"{link}?{ROOM}")
    with sending(link, "Ada", "--source", str(tmp_path / "two.wav")):
        shown(page, "talking")
    shown(page, "Ada left")
    gone(page, "talking")  # what is buffered is heard after that, in stereo
    with sending(link):
        shown(page, "talking")
        [pcm], rate = tapped(page, 2)
    assert np.array_equal(pcm[:, 0], pcm[:, 1])
    assert likeness(soxr.resample(pcm[:, 0], rate, RATE), speech) > ALIKE


def test_talkers_of_one_channel_and_of_two_are_heard_at_once(
    link: str, page: Page, speech: NDArray[np.float32], tmp_path: Path
) -> None:
    left_alone = np.stack([speech, np.zeros_like(speech)], 1)
    soundfile.write(tmp_path / "left.wav", left_alone, RATE)
    soundfile.write(tmp_path / "both.wav", speech[::-1], RATE)
    join(page, f"{link}?{ROOM}")
    with (
        sending(link, "Ada", "--source", str(tmp_path / "left.wav")),
        sending(link, "Bob", "--source", str(tmp_path / "both.wav")),
    ):
        shown(page, "Ada")
        shown(page, "Bob")
        page.wait_for_timeout(1_500)  # playout finds its delay
        [pcm], rate = tapped(page, 2, seconds=4)
    left, right = soxr.resample(pcm, rate, RATE).T
    assert likeness(right, speech[::-1]) > ALIKE > likeness(right, speech)
    assert likeness(left - right, speech) > ALIKE  # what the left has besides


def test_two_pages_see_each_other_and_who_is_muted(link: str, browser: BrowserContext) -> None:
    with opened(browser) as one, opened(browser) as other:
        join(one, f"{link}?{ROOM}", talks=True)
        join(other, f"{link}?{ROOM}")
        shown(other, "talking")
        one.keyboard.press("m")
        shown(other, "muted")
        # The space bar is for talking, wherever a click has left the focus.
        one.get_by_role("button", name="Settings").click()
        one.get_by_role("button", name="Close").click()
        one.keyboard.down(" ")
        shown(other, "talking")
        one.keyboard.up(" ")
        shown(other, "muted")
        assert one.get_by_role("dialog").count() == 0
        one.keyboard.press("m")
        shown(other, "talking")
        one.get_by_role("button", name="Leave").click()
        shown(other, "Eve left")
        shown(one, "Listen and talk")


def test_a_relay_that_comes_back_is_found_again(page: Page, speech: NDArray[np.float32]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with serving("--port", port) as link:
        join(page, f"{link}?{ROOM}")
        shown(page, "Connected")
    shown(page, "Reconnecting")
    with serving("--port", port) as link, sending(link):
        shown(page, "talking")
        assert likeness(played(page), speech) > ALIKE


def test_without_shared_memory_the_page_sounds_as_well(
    link: str, page: Page, speech: NDArray[np.float32]
) -> None:
    page.add_init_script(NOT_ISOLATED)
    with sending(link):
        join(page, f"{link}?{ROOM}")
        assert not page.evaluate("crossOriginIsolated")
        shown(page, "talking")
        assert likeness(played(page), speech) > ALIKE


@pytest.mark.parametrize("flags", [("--bitrate", "12k"), ("--packet-ms", "60"), ("--dtx",)])
def test_streams_of_all_kinds_are_heard(
    flags: tuple[str, ...], link: str, page: Page, speech: NDArray[np.float32]
) -> None:
    with sending(link, "Ada", *flags):
        join(page, f"{link}?{ROOM}")
        shown(page, "talking")
        assert likeness(played(page), speech) > ALIKE


def test_who_cannot_be_heard_is_shown_with_the_reason(
    link: str, page: Page, tmp_path: Path
) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("a secret between the two of us\n")
    with sending(link, TOO_OLD, "--passphrase-file", str(secret)):
        join(page, f"{link}?{ROOM}")
        shown(page, "it is encrypted, which this page cannot open yet")


def test_names_of_strangers_are_text(link: str, page: Page) -> None:
    name = "<img src=x onerror=alert(1)>"
    with sending(link, name):
        join(page, f"{link}?{ROOM}")
        shown(page, name)
        assert page.locator("main img").count() == 0


def test_a_token_is_taken_from_the_link_and_leaves_the_address(page: Page, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text("[keys]\n" + new_key("first") + "\n")
    make = [*PROGRAM, "token", "--keys", str(keys), "--room", "hall"]
    made = subprocess.run(make, capture_output=True, text=True, check=True)
    token = made.stdout.split()[-1]
    with serving("--port", "0", "--keys", str(keys)) as link:
        join(page, f"{link}?{ROOM}")
        shown(page, "token")
        page.goto("about:blank")
        join(page, f"{link}?{ROOM}#token={token}")
        shown(page, "Connected")
        assert token not in page.url


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_lies_beyond_the_edge(width: int, link: str, page: Page) -> None:
    page.set_viewport_size({"width": width, "height": 740})
    with sending(link, "W" * 64):
        join(page, f"{link}?{ROOM}", talks=True)
        shown(page, "talking")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_tab_behind_another_goes_on(
    link: str, browser: BrowserContext, page: Page, speech: NDArray[np.float32]
) -> None:
    with sending(link), opened(browser) as front:
        join(page, f"{link}?{ROOM}")
        shown(page, "talking")
        front.goto("about:blank")
        front.bring_to_front()
        page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 4})
        assert likeness(played(page), speech) > ALIKE
