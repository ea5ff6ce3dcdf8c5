"""Which sound devices the user of `talk`, `listen` and `send` may choose during a call."""

from __future__ import annotations

from ..audio.blocks import Sink, Source
from ..audio.reopening import ReopeningSink, ReopeningSource
from ..live.device_menu import Part
from ..live.session import Display

SENT = {"tone": "a tone is sent", "-": "standard input is sent"}
HEARD = {"null": "nothing is played", "-": "sound goes to standard output"}


def microphone(source: Source, spec: str) -> Part:
    """spec: one of SOURCE_FORMS, by which the source was opened."""
    device = source if isinstance(source, ReopeningSource) else None
    return Part("microphone", device, SENT.get(spec, f"{spec} is sent"))


def loudspeaker(sink: Sink, spec: str) -> Part:
    """spec: one of SINK_FORMS, by which the sink was opened."""
    device = sink if isinstance(sink, ReopeningSink) else None
    return Part("loudspeaker", device, HEARD.get(spec, f"sound goes to {spec}"))


def offer(display: Display, *parts: Part) -> None:
    """A screen offers them; lines cannot."""
    from ..screen.display import Screen

    if isinstance(display, Screen):
        display.parts = parts
