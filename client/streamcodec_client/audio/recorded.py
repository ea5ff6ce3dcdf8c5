"""What a sound server (PulseAudio, PipeWire) lets this process record. When a microphone is
unplugged it gives another source in its place without a word, maybe the monitor of a loudspeaker:
what is played here, so that others hear themselves. PortAudio knows nothing of it.

Asked is the server's own tool, which is there where the server is; without it nothing is known.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PACTL = "pactl"
SETTLES_S = 0.5  # a source that vanishes takes several steps
RETRY_S = 5.0  # between looks for a server
ANSWERS_S = 2.0
READ_BYTES = 4_096


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A source, by the name that the user knows. monitor: it is no microphone, but what is played
    here.
    """

    name: str
    monitor: bool

    @property
    def trouble(self) -> str:
        """What is wrong with it, within 80 columns for most names; empty where nothing is."""
        wrong = f"others hear themselves: {self.name} is recorded, not a microphone"
        return wrong if self.monitor else ""

    def news(self, before: Recorded | None) -> str:
        """That it has taken another's place; empty where it is the first, or where there is trouble
        to tell.
        """
        if before is None or self.monitor:
            return ""
        return f"the sound server records from {self.name} now"


class RecordedWatch:
    """Tells what the server records for this process, when that changes, from a thread of its own.
    The server says when to look: while nothing happens it costs nothing.
    """

    def __init__(self, told: Callable[[str, str], None], process: int | None = None) -> None:
        """told: of the first source, and of each change: the trouble with it, and what is new, as
        of Recorded. process: in place of ours.
        """
        self._told, self._process = told, os.getpid() if process is None else process
        self._before: Recorded | None = None
        self._thread: threading.Thread | None = None
        if shutil.which(PACTL) is not None:
            self._wake, self._waker = os.pipe()
            self._thread = threading.Thread(target=self._run, name="recorded", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Any number of times, from one thread."""
        if self._thread is not None:
            os.close(self._waker)
            self._thread.join()
            os.close(self._wake)
            self._thread = None

    def _run(self) -> None:
        while True:
            if server_there(os.environ):
                with contextlib.suppress(OSError):  # the tool has gone
                    self._follow()
                self._tell(None)
            if self._ready([], RETRY_S):
                return

    def _follow(self) -> None:
        """As long as the server is there."""
        with subprocess.Popen(  # noqa: S603
            [PACTL, "subscribe"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        ) as process:
            assert process.stdout is not None
            events = process.stdout.fileno()
            look_s: float | None = time.monotonic()
            try:
                while True:
                    wait_s = None if look_s is None else max(0.0, look_s - time.monotonic())
                    ready = self._ready([events], wait_s)
                    if self._wake in ready:
                        return
                    if ready:
                        said = os.read(events, READ_BYTES)
                        if not said:
                            return
                        if b"source-output" in said and look_s is None:
                            look_s = time.monotonic() + SETTLES_S
                    else:
                        look_s = None
                        self._look()
            finally:
                process.terminate()

    def _ready(self, others: Sequence[int], wait_s: float | None) -> list[int]:
        ready: list[int] = select.select([self._wake, *others], [], [], wait_s)[0]
        return ready

    def _look(self) -> None:
        outputs, sources = asked("source-outputs"), asked("sources")
        if outputs is not None and sources is not None:
            self._tell(recorded_by(self._process, outputs, sources))

    def _tell(self, now: Recorded | None) -> None:
        if now != self._before:
            news = "" if now is None else now.news(self._before)
            self._before = now
            self._told("" if now is None else now.trouble, news)


def server_there(environment: Mapping[str, str]) -> bool:
    """Whether there is one to ask: asking for one that is not there might start it."""
    if environment.get("PULSE_SERVER"):
        return True
    folders = [
        Path(environment[name], *below)
        for name, below in (("PULSE_RUNTIME_PATH", ()), ("XDG_RUNTIME_DIR", ("pulse",)))
        if environment.get(name)
    ]
    return any((folder / "native").exists() for folder in folders)


def asked(what: str) -> list[Any] | None:
    """A list of the server; None where it does not answer, or not so that we understand it."""
    found = _answer("list", what)
    return found if isinstance(found, list) else None


def default_source(environment: Mapping[str, str]) -> Recorded | None:
    """What is recorded where no source is named; None where there is no server."""
    if shutil.which(PACTL) is None or not server_there(environment):
        return None
    info, sources = _answer("info"), asked("sources")
    name = environment.get("PULSE_SOURCE", "@DEFAULT_SOURCE@")
    if name == "@DEFAULT_SOURCE@" and isinstance(info, dict):
        name = info.get("default_source_name", "")
    return next((_recorded(s) for s in sources or () if _field(s, "name") == name), None)


def recorded_by(process: int, outputs: Sequence[Any], sources: Sequence[Any]) -> Recorded | None:
    """What the newest of a process's streams records, by the server's lists; None where it has
    none, or where the lists are not as they should be.
    """
    mine = [
        _field(output, "source")
        for output in outputs
        if _field(output, "properties", "application.process.id") == str(process)
    ]
    found = {_field(source, "index"): source for source in sources}
    return _recorded(found[mine[-1]]) if mine and mine[-1] in found else None


def _recorded(source: Any) -> Recorded:
    name = _field(source, "description") or _field(source, "name") or "another source"
    monitors = _field(source, "properties", "device.class") == "monitor"
    return Recorded(str(name), monitors or bool(_field(source, "monitor_source")))


def _field(value: Any, *names: str) -> Any:
    """None where there is no such field."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _answer(*words: str) -> Any:
    try:
        answered = subprocess.run(  # noqa: S603
            [PACTL, "--format=json", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=_environment(),
            timeout=ANSWERS_S,
            check=True,
        )
        return json.loads(answered.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _environment() -> dict[str, str]:
    """Events in English, and numbers with a point: with a comma, lists would be no JSON."""
    return os.environ | {"LC_ALL": "C.UTF-8"}
