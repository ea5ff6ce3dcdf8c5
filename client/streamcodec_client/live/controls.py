"""What a user changes during a live session, by keys or by program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from .device_menu import DeviceMenu
from .volumes import Volumes

STEP_DB = 3.0
HELD_S = 0.7  # a terminal repeats a key that is held, and never says that it was let go


class Speaks(Protocol):
    """A sender, as far as it can be muted."""

    @property
    def muted(self) -> bool: ...

    def mute(self, muted: bool) -> None: ...


class Hears(Protocol):
    """A receiver, as far as it can be made louder."""

    volumes: Volumes


class Records(Protocol):
    """A recorder, as far as it can be switched."""

    on: bool


class Controls:
    """chosen: the stream that volume keys are about; None: all. help_open: whether the user wants
    to see the keys; devices: or the list of those, never both.
    """

    def __init__(
        self,
        sender: Speaks | None,
        receiver: Hears | None,
        leave: Callable[[], None],
        *,
        push_to_talk: bool = False,
        recorder: Records | None = None,
        devices: DeviceMenu | None = None,
    ) -> None:
        self._recorder = recorder
        self.devices = DeviceMenu(()) if devices is None else devices
        self._sender, self._receiver, self._leave = sender, receiver, leave
        self.push_to_talk = push_to_talk and sender is not None
        self._held_until_s: float | None = None
        self.chosen: int | None = None
        self.help_open = False
        if sender is not None and self.push_to_talk:
            sender.mute(True)

    def press(self, key: str, streams: Sequence[int], now_s: float) -> None:
        """streams: of the people on the screen, in its order."""
        if self.devices.press(key):
            self.help_open = False
            return
        match key:
            case "m" if self._sender is not None:
                self._held_until_s = None
                self._sender.mute(not self._sender.muted)
            case " " if self._sender is not None and self.push_to_talk:
                self._held_until_s = now_s + HELD_S
                self._sender.mute(False)
            case "+" | "=":
                self._change(STEP_DB)
            case "-" | "_":
                self._change(-STEP_DB)
            case "x" if self._receiver is not None and self.chosen is not None:
                self._receiver.volumes = self._receiver.volumes.toggled(self.chosen)
            case "r" if self._recorder is not None:
                self._recorder.on = not self._recorder.on
            case "?" | "h":
                self.help_open = not self.help_open
                self.devices.close()
            case "q":
                self._leave()
            case _ if key.isdecimal() and 0 < int(key) <= len(streams):
                wanted = streams[int(key) - 1]
                self.chosen = None if wanted == self.chosen else wanted

    def tick(self, streams: Sequence[int], now_s: float) -> None:
        """Several times a second."""
        if self.chosen not in streams:
            self.chosen = None
        if self._held_until_s is not None and now_s > self._held_until_s:
            self._held_until_s = None
            if self._sender is not None:
                self._sender.mute(True)

    def _change(self, by_db: float) -> None:
        if self._receiver is not None:
            self._receiver.volumes = self._receiver.volumes.changed(by_db, self.chosen)
