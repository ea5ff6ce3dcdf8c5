"""PulseAudio with null sinks: sound devices where there is no sound hardware. What is played into a
null sink can be captured from its monitor. One that nobody plays into wakes once in one to two
seconds: whoever plays there first is silent for so long, which is not the program's fault.
"""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from streamcodec.errors import AudioError

RATE = 48_000  # of its devices, as of most real ones
START_LIMIT_S = 10.0
ALSA_CONFIG = Path("/usr/share/alsa/alsa.conf")
PULSE_PLUGIN = "alsa-lib/libasound_module_pcm_pulse.so"
# Without shared memory, real-time priority and a file that holds its process id it runs in any
# container.
OPTIONS = (
    "-n",
    "--daemonize=no",
    "--exit-idle-time=-1",
    "--use-pid-file=no",
    "--disable-shm=yes",
    "--realtime=no",
)


def missing() -> str | None:
    """What to install before a sound server can run here; None where it can."""
    if shutil.which("pulseaudio") is None or shutil.which("pacat") is None:
        return "apt install pulseaudio"
    if ctypes.util.find_library("portaudio") is None:
        return "apt install libportaudio2"
    libraries = [Path("/usr/lib"), *Path("/usr/lib").glob("*-linux-gnu")]
    if not ALSA_CONFIG.exists() or not any((path / PULSE_PLUGIN).exists() for path in libraries):
        return "apt install libasound2-plugins"
    return None


class SoundServer:
    """A PulseAudio of our own, which other programs of the machine do not see, with a null sink for
    each name. Use it as a context.
    """

    def __init__(self, folder: Path, sinks: Sequence[str], microphones: Sequence[str] = ()) -> None:
        """`folder`: for its socket and log; nobody else may have access to it. `microphones`: sinks
        that are sources, too, called NAME.microphone: browsers take no monitor for one.
        """
        self._folder, self._sinks, self._microphones = folder, sinks, microphones
        self._process: subprocess.Popen[bytes] | None = None

    def environment(
        self, microphone: str | None = None, loudspeaker: str | None = None
    ) -> dict[str, str]:
        """Variables for a process that is to have these devices as its defaults: the monitor of a
        sink, and a sink. None: the first one.
        """
        address = f"unix:{self._address}"
        return os.environ | {
            "HOME": str(self._folder),
            "XDG_RUNTIME_DIR": str(self._folder),
            "PULSE_SERVER": address,
            "PULSE_SOURCE": f"{microphone or self._sinks[0]}.monitor",
            "PULSE_SINK": loudspeaker or self._sinks[0],
            "ALSA_CONFIG_PATH": str(self._folder / "asoundrc"),
        }

    def __enter__(self) -> SoundServer:
        """Raises AudioError where it does not start."""
        if (package := missing()) is not None:
            raise AudioError(f"no sound server to measure with: {package}")
        self._folder.chmod(0o700)
        (self._folder / "asoundrc").write_text(
            f"<{ALSA_CONFIG}>\npcm.!default {{ type pulse }}\nctl.!default {{ type pulse }}\n"
        )
        modules = [f"module-null-sink sink_name={name} rate={RATE}" for name in self._sinks]
        modules += [
            f"module-remap-source source_name={name}.microphone master={name}.monitor"
            for name in self._microphones
        ]
        modules.append(f"module-native-protocol-unix auth-anonymous=1 socket={self._address}")
        log_file = self._folder / "pulse.log"
        with log_file.open("w") as log:
            self._process = subprocess.Popen(  # noqa: S603
                ["pulseaudio", *OPTIONS, *(word for m in modules for word in ("-L", m))],  # noqa: S607
                env=self.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_LIMIT_S
        while not self._address.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._stop()
                raise AudioError(f"pulseaudio does not start: {log_file.read_text()[-300:]}")
            time.sleep(0.05)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    @property
    def _address(self) -> Path:
        return self._folder / "native"

    def _stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait()
