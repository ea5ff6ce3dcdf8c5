"""The list of microphones and loudspeakers from which a user chooses during a call."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeAlias

from streamcodec.errors import AudioError

from ..audio.devices import SoundDevice, newest_devices

ESCAPE = "\x1b"
OPENS, MORE = "d", "0"
PAGE = 9  # as many as there are digits
Finds: TypeAlias = Callable[[], tuple[list[SoundDevice], bool]]


class Switchable(Protocol):
    """A source or sink that can take another device, as of ReopeningSource."""

    @property
    def index(self) -> int | None: ...

    @property
    def name(self) -> str | None: ...

    def switch(self, device: str) -> None: ...


@dataclasses.dataclass(frozen=True)
class Part:
    """A call's microphone or loudspeaker. device: None where it has no sound device; instead: what
    it has then.
    """

    kind: Literal["microphone", "loudspeaker"]
    device: Switchable | None
    instead: str = ""


@dataclasses.dataclass(frozen=True)
class Choice:
    """One device. asked: how to ask for it. key: the digit that chooses it, where it is shown."""

    index: int
    name: str
    asked: str
    default: bool
    in_use: bool = False
    key: str = ""


@dataclasses.dataclass(frozen=True)
class Section:
    """The devices of one part that are shown now. note: why there are none."""

    kind: str
    choices: Sequence[Choice] = ()
    note: str = ""


@dataclasses.dataclass(frozen=True)
class DeviceList:
    """What is shown. more: there are others, which MORE shows. notes: what else is to be said."""

    sections: Sequence[Section]
    more: bool = False
    notes: Sequence[str] = ()


class DeviceMenu:
    """Event loop only. Devices are looked for in a thread, because that may take seconds."""

    def __init__(self, parts: Sequence[Part], find: Finds = newest_devices) -> None:
        """parts: of the call, in the order in which they are shown. find: what there is, and
        whether that includes what was plugged in since the program began; raises AudioError.
        """
        self._parts, self._find = parts, find
        self.is_open = False
        self._page = 0
        self._looking: asyncio.Task[None] | None = None
        self._devices: list[SoundDevice] | None = None  # None: not known yet
        self._notes: tuple[str, ...] = ()

    def press(self, key: str) -> bool:
        """-> whether the key was about devices."""
        if not self.is_open:
            if key != OPENS or not self._parts:
                return False
            self._open()
        elif key in (OPENS, ESCAPE):
            self.close()
        elif key == MORE:
            self._page += 1
        elif key.isdecimal():
            self._choose(key)
        else:
            return False
        return True

    def close(self) -> None:
        """It is shown no more."""
        self.is_open = False

    def end(self) -> None:
        """Waits for no list any more."""
        self.close()
        if self._looking is not None:
            self._looking.cancel()

    def shown(self) -> DeviceList | None:
        """None while it is not open."""
        if not self.is_open:
            return None
        choices = self._choices()
        count = sum(len(found) for found in choices)
        pages = max(1, -(-count // PAGE))
        first = self._page % pages * PAGE
        sections, before = [], 0
        for part, found in zip(self._parts, choices, strict=True):
            here = [
                dataclasses.replace(choice, key=str(number - first + 1))
                for number, choice in enumerate(found, before)
                if first <= number < first + PAGE
            ]
            before += len(found)
            note = "" if found else self._none(part)
            if here or note:
                sections.append(Section(part.kind, here, note))
        return DeviceList(sections, pages > 1, self._notes)

    def _open(self) -> None:
        self.is_open, self._page = True, 0
        if all(part.device is None for part in self._parts):
            self._devices = []
        elif self._looking is None or self._looking.done():
            self._devices, self._notes = None, ()
            self._looking = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        try:
            self._devices, newest = await asyncio.to_thread(self._find)
        except AudioError as error:
            self._devices, self._notes = [], (str(error),)
        else:
            self._notes = () if newest else ("restart to see devices plugged in since",)

    def _choose(self, key: str) -> None:
        shown = self.shown()
        assert shown is not None
        for section in shown.sections:
            for choice in section.choices:
                if choice.key == key and not choice.in_use:
                    part = next(part for part in self._parts if part.kind == section.kind)
                    assert part.device is not None
                    part.device.switch(choice.asked)

    def _none(self, part: Part) -> str:
        if part.device is None:
            return f"none to choose: {part.instead}"
        return "looking for them" if self._devices is None else "none is there"

    def _choices(self) -> list[list[Choice]]:
        """Of each part."""
        return [
            []
            if part.device is None
            else choices(self._devices or (), part.kind, part.device.index)
            for part in self._parts
        ]


def choices(devices: Sequence[SoundDevice], kind: str, in_use: int | None) -> list[Choice]:
    """Of one kind. Some systems list each device once for each of their sound systems (Windows has
    four): those of the default and of what is in use are shown.
    """
    microphones = kind == "microphone"
    found = [d for d in devices if (d.input_channels if microphones else d.output_channels) > 0]
    default = {d.index: d.default_input if microphones else d.default_output for d in found}
    hosts = {d.host_api for d in found if d.index == in_use or default[d.index]}
    counts = Counter(way.lower() for d in found for way in (d.name, _with_host(d)))
    return [
        Choice(d.index, d.name, _asked(d, counts), default[d.index], d.index == in_use)
        for d in found
        if d.host_api in hosts or not hosts
    ]


def _asked(device: SoundDevice, counts: Counter[str]) -> str:
    """Its name, while it is the only one of that name; names stay when devices come and go."""
    ways = (device.name, _with_host(device))
    return next((way for way in ways if counts[way.lower()] == 1), str(device.index))


def _with_host(device: SoundDevice) -> str:
    return f"{device.name}, {device.host_api}"
