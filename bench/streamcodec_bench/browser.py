"""Chromium as a program that measurements drive, through Playwright. Linux only."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamcodec.errors import ConfigError

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

START_S = 30.0
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
SETTINGS = "streamcodec.settings"  # of the page, in the browser's storage
# Children are found by their parents: who is it that one pays for.
KINDS = {"renderer": "--type=renderer", "sound": "audio.mojom.AudioService"}


def missing() -> str | None:
    """What to install before a browser can be driven; None where it can."""
    if importlib.util.find_spec("playwright") is None:
        return "pip install 'streamcodec[page]'"
    if program() is None:
        return "apt install chromium"
    return None


@functools.cache
def program() -> str | None:
    """Path of the system's Chromium, if it runs: Ubuntu has programs that only name a snap."""
    for name in PROGRAMS:
        if (found := shutil.which(name)) is None:
            continue
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run([found, "--version"], check=True, capture_output=True, timeout=START_S)  # noqa: S603
            return found
    return None


@contextlib.contextmanager
def chromium(
    environment: Mapping[str, str] | None = None,
    *,
    microphone: Path | None = None,
    settings: Mapping[str, Any] = {},
    arguments: tuple[str, ...] = (),
) -> Iterator[BrowserContext]:
    """A browser without a window that may use the microphone. environment: says which sound devices
    there are. microphone: a WAV file that it hears over and over, in place of a device. settings:
    of our page. Raises ConfigError where there is none.
    """
    if (package := missing()) is not None:
        raise ConfigError(f"no browser to drive: {package}")
    from playwright.sync_api import sync_playwright

    # Its sandbox needs rights that containers do not give; it only sees our own page.
    flags = ["--no-sandbox", "--use-fake-ui-for-media-stream", *arguments]
    if microphone is not None:
        flags += ["--use-fake-device-for-media-stream"]
        flags += [f"--use-file-for-fake-audio-capture={microphone}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program(),
            env=None if environment is None else dict(environment),
            args=flags,
            ignore_default_args=["--mute-audio"],
        )
        try:
            context = browser.new_context(permissions=["microphone"])
            kept = json.dumps(json.dumps(dict(settings)))
            keep = f"localStorage.setItem({json.dumps(SETTINGS)}, {kept})"
            context.add_init_script(f"if (location.protocol.startsWith('http')) {keep}")
            yield context
        finally:
            browser.close()


def join(page: Page, link: str, *, talks: bool = False) -> None:
    """Opens the page of a relay and joins the room that the link names."""
    page.goto(link)
    page.get_by_role("button", name="Listen and talk" if talks else "Listen", exact=True).click()


def browser_cpu_s() -> dict[str, float]:
    """CPU time of the processes of a browser that this one has started, by kind: `renderer` (the
    page, its worker and its sound's thread), `sound` (devices) and `all`.
    """
    used = dict.fromkeys((*KINDS, "all"), 0.0)
    for process, command in _browser_processes():
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        used["all"] += seconds
        for kind, mark in KINDS.items():
            used[kind] += seconds if mark in command else 0.0
    return used


def page_memory_mb() -> float:
    """What the page's process holds in memory."""
    pages = [
        int((process / "statm").read_text().split()[1])
        for process, command in _browser_processes()
        if KINDS["renderer"] in command
    ]
    return round(sum(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def _browser_processes() -> list[tuple[Path, str]]:
    """Folder in /proc and command of each."""
    parents, commands = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[folder.name] = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            commands[folder.name] = (folder / "cmdline").read_text()
        except OSError:  # it has ended
            continue
    return [
        (Path("/proc", process), command)
        for process, command in commands.items()
        if "chrom" in command.partition("\0")[0] and _is_ours(process, parents)
    ]


def _is_ours(process: str, parents: Mapping[str, str]) -> bool:
    while process in parents:
        process = parents[process]
        if process == str(os.getpid()):
            return True
    return False
