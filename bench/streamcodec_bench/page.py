"""The page in Chromium and a `talk`, through a relay that serves it, with virtual sound devices:
how long until something is heard, and how long a voice takes from one microphone to the other
loudspeaker. Linux only. Measured outside of the programs, as in `call`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soxr

from streamcodec.errors import AudioError
from streamcodec.units import NS, Pcm

from .browser import browser_cpu_s, chromium, join, page_memory_mb
from .call import (
    COMPARED_RATE,
    SETTLE_S,
    Recorder,
    busy_process,
    speaking,
)
from .latency import Spread, end_to_end_latencies, read_mono
from .live_session import PROGRAM, cpu_seconds, line_with, started
from .sound_server import RATE, SoundServer

if TYPE_CHECKING:
    from playwright.sync_api import Page

DEVICES = ("mic_a", "mic_b", "ear_a", "ear_b")
AUDIBLE = 1e-3  # of full scale: louder than what a silent device gives
FIRST_SOUND_LIMIT_S = 15.0
LEAVING_S = 1.5
SCREENS = ((1280, 720), (390, 740))
PICTURE_S = 0.5  # until it is drawn anew
LEAD_S = 0.5  # that a recorder runs before anything is opened


@dataclasses.dataclass(frozen=True)
class PagePlan:
    """`seconds`: how long both talk, after SETTLE_S. `busy`: so many processes compute without
    pause beside the call. `pictures`: folder for page-WIDTH.png.
    """

    source: Path
    seconds: float
    busy: int
    pictures: Path | None = None


@dataclasses.dataclass(frozen=True)
class PageFigures:
    """first_sound_s: from opening the link to the first sound, at the first visit and at the
    second, which has the codec in its cache. to_page_ms, from_page_ms: mouth to ear, from `talk` to
    the page and back. cpu: shares of a core, by kind of the browser's processes.
    talk_cpu: the share of `talk`, which does the same, in the same time. concealed_percent: of what
    it heard of the page, in the last ten seconds. memory_mb: of the page's process, when the
    measurement began and ended.
    """

    first_sound_s: tuple[float, float]
    to_page_ms: Spread
    from_page_ms: Spread
    cpu: dict[str, float]
    talk_cpu: float
    concealed_percent: float
    memory_mb: tuple[float, float]


def measure(plan: PagePlan) -> PageFigures:
    """Raises AudioError where there is no sound server, or nothing is heard; ConfigError where
    there is no browser; SessionFailed.
    """
    with tempfile.TemporaryDirectory(prefix="streamcodec-page-") as name:
        folder = Path(name)
        with SoundServer(folder, DEVICES, microphones=["mic_b"]) as server:
            return _measured(plan, server, folder)


def _measured(plan: PagePlan, server: SoundServer, folder: Path) -> PageFigures:
    """`talk` is a, the page b."""
    speech, rate = read_mono(plan.source)
    speech = soxr.resample(speech, rate, RATE)
    with contextlib.ExitStack() as stack:
        relay = stack.enter_context(started([*PROGRAM, "serve", "--web", "--port", "0"]))
        link = line_with(relay, "page on ").split("page on ")[1].split()[0]
        url = link.replace("http", "ws", 1).rstrip("/")
        output = stack.enter_context((folder / "lines.jsonl").open("w"))
        command = [*PROGRAM, "talk", "--url", url, "--room", "lobby", "--name", "Ada", "--json"]
        talk = stack.enter_context(started(command, output, server.environment("mic_a", "ear_a")))
        # Each says the same, but not at the same time.
        stack.enter_context(speaking(server, "mic_a", speech))
        stack.enter_context(speaking(server, "mic_b", np.roll(speech, len(speech) // 2)))
        for _ in range(plan.busy):
            stack.enter_context(busy_process())
        devices = server.environment("mic_b", "ear_b")
        context = stack.enter_context(
            chromium(devices | {"PULSE_SOURCE": "mic_b.microphone"}, settings={"name": "Eve"})
        )
        page = context.new_page()
        firsts = []
        for talks in (False, True):
            with _first_sound(server, "ear_b") as seconds:
                join(page, f"{link}?room=lobby", talks=talks)
            firsts.append(seconds[0])
            if not talks:
                page.get_by_role("button", name="Leave").click()
                time.sleep(LEAVING_S)
        time.sleep(SETTLE_S)
        if plan.pictures is not None:
            _draw(page, plan.pictures)
        recorders = {name: Recorder(server, name) for name in DEVICES}
        before, talk_s, memory_mb = browser_cpu_s(), cpu_seconds(talk.pid), page_memory_mb()
        time.sleep(plan.seconds)
        after, talk_s = browser_cpu_s(), cpu_seconds(talk.pid) - talk_s
        memories_mb = memory_mb, page_memory_mb()
        recorded = {name: recorder.stop() for name, recorder in recorders.items()}
    ways = [("mic_a", "ear_b"), ("mic_b", "ear_a")]
    there, back = (_mouth_to_ear(*recorded[mouth], *recorded[ear]) for mouth, ear in ways)
    cpu = {kind: round((after[kind] - before[kind]) / plan.seconds, 3) for kind in after}
    lines = (json.loads(line) for line in (folder / "lines.jsonl").read_text().splitlines())
    streams = [line["receive"]["streams"] for line in lines if "receive" in line]
    last = next(s for s in reversed(streams) if s)[0]
    talk_cpu, concealed_percent = round(talk_s / plan.seconds, 3), last["concealed_percent"]
    first, second = firsts
    return PageFigures((first, second), there, back, cpu, talk_cpu, concealed_percent, memories_mb)


def _draw(page: Page, folder: Path) -> None:
    """The page as it looks on a desk and on a phone."""
    folder.mkdir(parents=True, exist_ok=True)
    for width, height in SCREENS:
        page.set_viewport_size({"width": width, "height": height})
        time.sleep(PICTURE_S)
        page.screenshot(path=folder / f"page-{width}.png")


@contextlib.contextmanager
def _first_sound(server: SoundServer, ear: str) -> Iterator[list[float]]:
    """Afterwards the list holds the seconds from its beginning to the first sound."""
    recorder = Recorder(server, ear)
    seconds: list[float] = []
    try:
        time.sleep(LEAD_S)
        begun_ns = time.monotonic_ns()
        yield seconds
        while time.monotonic_ns() - begun_ns < FIRST_SOUND_LIMIT_S * NS:
            if recorder.heard(AUDIBLE):
                break
            time.sleep(0.1)
    finally:
        pcm, start_ns = recorder.stop()
    loud = np.flatnonzero(np.abs(pcm) > AUDIBLE)
    loud = loud[start_ns + loud * NS // COMPARED_RATE >= begun_ns]
    if not len(loud):
        raise AudioError(f"nothing was heard within {FIRST_SOUND_LIMIT_S:g} s")
    seconds.append(round((start_ns + int(loud[0]) * NS / COMPARED_RATE - begun_ns) / NS, 2))


def _mouth_to_ear(said: Pcm, said_ns: int, heard: Pcm, heard_ns: int) -> Spread:
    delays_ms = end_to_end_latencies(said, heard, COMPARED_RATE, said_ns, heard_ns)
    if not len(delays_ms):
        raise AudioError("what was heard is not what was said")
    return Spread.of(delays_ms)


TABLE_HEAD = (
    "| link to first sound, first visit / next s | talk to page p50 / p99 ms "
    "| page to talk p50 / p99 ms | CPU of the page, of a core | of the whole browser | of `talk` "
    "| concealed % | memory of the page, begin / end MB |\n|---|---|---|---|---|---|---|---|"
)


def table_row(figures: PageFigures) -> str:
    """A row of the table below TABLE_HEAD."""
    there, back, cpu = figures.to_page_ms, figures.from_page_ms, figures.cpu
    (first, again), (begin, end) = figures.first_sound_s, figures.memory_mb
    return (
        f"| {first:.2f} / {again:.2f} | {there.p50:.0f} / {there.p99:.0f} "
        f"| {back.p50:.0f} / {back.p99:.0f} | {cpu['renderer']:.1%} | {cpu['all']:.1%} "
        f"| {figures.talk_cpu:.1%} | {figures.concealed_percent:.2f} | {begin:.0f} / {end:.0f} |"
    )
