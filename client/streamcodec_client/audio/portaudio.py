"""The PortAudio library. It lists devices as they were when it was initialised, and whatever is
open dies where it is initialised anew.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from streamcodec.errors import AudioError

INSTALL_HINT = (
    "apt install libportaudio2 (Debian, Ubuntu), dnf install portaudio (Fedora); "
    "on macOS and Windows it comes with pip"
)


class Library:
    """Who uses it, from which threads ever. Callbacks need none of this, and take no lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._renewed = False

    def take(self) -> Any:
        """The sounddevice module, for whoever keeps numbers of devices or opens them: until
        `give_back` nobody initialises the library anew. Raises AudioError.
        """
        with self._lock:
            module = _sounddevice()
            self._users += 1
            return module

    def give_back(self) -> None:
        """As often as `take`."""
        with self._lock:
            self._users -= 1

    @contextlib.contextmanager
    def taken(self) -> Iterator[Any]:
        """As long as the block lasts."""
        module = self.take()
        try:
            yield module
        finally:
            self.give_back()

    def renew(self) -> bool:
        """Initialises the library anew, so that it finds devices plugged in since, unless somebody
        has it -> whether it did. May take seconds. Raises AudioError.
        """
        with self._lock:
            if self._users:
                return False
            module = _sounddevice()
            # There is no public name for either. It may have failed to initialise the last time.
            with contextlib.suppress(module.PortAudioError):
                module._terminate()
            try:
                module._initialize()
            except module.PortAudioError as error:
                raise AudioError(f"PortAudio does not start again: {error}") from error
            finally:
                self._renewed = True
            return True

    def keep_fresh(self) -> None:
        """For who misses a device: what was there at the beginning can be opened whenever it is
        back, but once the library was initialised anew, while a sound server was away, only what
        was there then. Raises AudioError.
        """
        if self._renewed:
            self.renew()


LIBRARY = Library()  # of this process


def _sounddevice() -> Any:
    """Imported when it is needed and not before, because the import raises OSError where the
    PortAudio library is not installed.
    """
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise AudioError(
            "sound devices need sounddevice: pip install 'streamcodec[client]'"
        ) from error
    except OSError as error:
        raise AudioError(f"the PortAudio library is not installed: {INSTALL_HINT}") from error
    return sounddevice
