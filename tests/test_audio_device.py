"""A real full-duplex PortAudio device: pulseaudio with a null sink, whose monitor hears what is
played into it.
"""

from __future__ import annotations

import ctypes.util
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

START_LIMIT_S = 10.0
SCRIPT_LIMIT_S = 60.0
ALSA_CONFIG = Path("/usr/share/alsa/alsa.conf")
PULSE_PLUGIN = "alsa-lib/libasound_module_pcm_pulse.so"

# PortAudio looks for devices when it is loaded: a process of its own sees those of this test and no
# others.
DUPLEX = """
import json, threading
import numpy as np
from streamcodec_client.audio.pick import pick_sink, pick_source
from streamcodec_client.clock import MonotonicClock

clock = MonotonicClock()
sink, source = pick_sink("speaker", clock, rate=48_000), pick_source("mic", clock, rate=48_000)
heard, done = [], threading.Event()

def listen():
    source.start()
    while not done.is_set():
        block = source.read(0.1)
        if block is not None:
            heard.append(block)
    source.close()

listener = threading.Thread(target=listen)
listener.start()
sink.start()
played = []
while len(played) < 150:
    if sink.wants_block(0.1):
        at = np.arange(480) + 480 * len(played)
        # One second of silence, then the tone: what is heard of it is not left over from anywhere.
        tone = 0.5 * np.sin(2 * np.pi * 1000 * at / 48_000) * (len(played) >= 100)
        played.append(sink.write(np.repeat(tone[:, None], sink.channels, 1).astype(np.float32)))
while clock.now_ns() < played[-1] + 300_000_000:
    clock.sleep(0.01)
done.set()
listener.join()
sink.close()
pcm = np.concatenate([block.pcm[:, 0] for block in heard])
spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm))))
print(json.dumps({
    "peak_hz": float(np.fft.rfftfreq(len(pcm), 1 / 48_000)[spectrum.argmax()]),
    "loudest": float(np.abs(pcm).max()),
    "played_in_order": played == sorted(played),
    "positions_in_order": [b.position for b in heard] == sorted({b.position for b in heard}),
    "shapes": sorted({b.pcm.shape for b in heard}),
    "channels": [source.channels, sink.channels],
}))
"""


@dataclasses.dataclass(frozen=True)
class Pulse:
    environment: dict[str, str]

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SCRIPT_LIMIT_S,
            check=False,
        )


@pytest.fixture(scope="module")
def pulse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pulse]:
    if missing := _missing():
        pytest.skip(f"no sound server to test with: {missing}")
    runtime = tmp_path_factory.mktemp("pulse")
    runtime.chmod(0o700)
    configuration = runtime / "asoundrc"
    configuration.write_text(
        f"<{ALSA_CONFIG}>\npcm.!default {{ type pulse }}\nctl.!default {{ type pulse }}\n"
    )
    address = runtime / "native"
    environment = os.environ | {
        "HOME": str(runtime),
        "XDG_RUNTIME_DIR": str(runtime),
        "PULSE_SERVER": f"unix:{address}",
        "ALSA_CONFIG_PATH": str(configuration),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    options = [
        "-n",
        "--daemonize=no",
        "--exit-idle-time=-1",
        "--use-pid-file=no",
        "--disable-shm=yes",
        "--realtime=no",
    ]
    modules = [
        "module-null-sink sink_name=loop",
        f"module-native-protocol-unix auth-anonymous=1 socket={address}",
    ]
    with (runtime / "pulse.log").open("w") as log:
        server = subprocess.Popen(
            ["pulseaudio", *options, *(part for module in modules for part in ("-L", module))],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + START_LIMIT_S
            while not address.exists():
                if server.poll() is not None or time.monotonic() > deadline:
                    log_end = (runtime / "pulse.log").read_text()[-300:]
                    pytest.skip(f"pulseaudio does not start here: {log_end}")
                time.sleep(0.05)
            yield Pulse(environment)
        finally:
            server.terminate()
            server.wait()


def _missing() -> str | None:
    if shutil.which("pulseaudio") is None:
        return "apt install pulseaudio"
    if ctypes.util.find_library("portaudio") is None:
        return "apt install libportaudio2"
    libraries = [Path("/usr/lib"), *Path("/usr/lib").glob("*-linux-gnu")]
    if not ALSA_CONFIG.exists() or not any(
        (folder / PULSE_PLUGIN).exists() for folder in libraries
    ):
        return "apt install libasound2-plugins"
    return None


def test_what_is_played_is_captured(pulse: Pulse) -> None:
    result = pulse.python("-c", DUPLEX)
    assert result.returncode == 0, result.stderr
    heard = json.loads(result.stdout)
    assert heard["peak_hz"] == pytest.approx(1000, abs=5)
    assert 0.4 < heard["loudest"] < 0.6
    assert heard["played_in_order"]
    assert heard["positions_in_order"]
    assert heard["shapes"] == [[480, 1]]
    assert heard["channels"] == [1, 2]


def test_devices_are_listed(pulse: Pulse) -> None:
    result = pulse.python("-m", "streamcodec_client", "devices", "--json")
    assert result.returncode == 0, result.stderr
    defaults = [d for d in json.loads(result.stdout) if d["default_input"] and d["default_output"]]
    assert [d["name"] for d in defaults] == ["default"]
    table = pulse.python("-m", "streamcodec_client", "devices")
    assert "default (ALSA) * input and output" in table.stdout


@pytest.mark.parametrize("device", ["no such device", "99"])
def test_an_unknown_device_is_named_in_the_error(pulse: Pulse, device: str) -> None:
    result = pulse.python("-m", "streamcodec_client", "listen", "--device", device)
    assert result.returncode == 2
    assert (
        result.stderr
        == f"streamcodec: no output device {device!r}; `streamcodec devices` lists what is there\n"
    )


def test_listing_devices_needs_no_pytorch(pulse: Pulse) -> None:
    listing = (
        "import sys; from streamcodec_client.cli import main; main(['devices', '--json']); "
        "sys.exit('torch' in sys.modules)"
    )
    result = pulse.python("-c", listing)
    assert result.returncode == 0, result.stderr
