"""Which sound devices the user of `talk`, `listen` and `send` may choose during a call."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from ..audio.blocks import Sink, Source
from ..audio.recorded import RecordedWatch
from ..audio.reopening import ReopeningSink, ReopeningSource
from ..live.device_menu import Part
from ..live.session import Display

SENT = {"tone": "a tone is sent", "-": "standard input is sent"}
NAMES = {"mic": "the microphone", "tone": "the tone", "-": "standard input"}
HEARD = {"null": "nothing is played", "-": "sound goes to standard output"}


def name_of(spec: str) -> str:
    """What is sent, for the user; spec: one of SOURCE_FORMS."""
    return NAMES.get(spec, Path(spec).name)


def microphone(source: Source, spec: str) -> Part:
    """spec: one of SOURCE_FORMS, by which the source was opened."""
    device = source if isinstance(source, ReopeningSource) else None
    return Part("microphone", device, SENT.get(spec, f"{spec} is sent"))


def loudspeaker(sink: Sink, spec: str) -> Part:
    """spec: one of SINK_FORMS, by which the sink was opened."""
    device = sink if isinstance(sink, ReopeningSink) else None
    return Part("loudspeaker", device, HEARD.get(spec, f"sound goes to {spec}"))


def watch(opened: ExitStack, display: Display, part: Part) -> None:
    """Tells the user where a sound server gives something else in place of a microphone."""
    if part.device is None:
        return

    def told(trouble: str, news: str) -> None:
        display.trouble(trouble)
        if news:
            display.notice(news)

    opened.callback(RecordedWatch(told).close)


def offer(display: Display, *parts: Part) -> None:
    """A screen offers them; lines cannot."""
    from ..screen.display import Screen

    if isinstance(display, Screen):
        display.parts = parts
