"""A real full-duplex PortAudio device: pulseaudio with a null sink, whose monitor hears what is
played into it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from streamcodec_bench.sound_server import SoundServer, missing

SCRIPT_LIMIT_S = 60.0

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

SWITCH = """
import json
import numpy as np
from streamcodec_client.audio.devices import newest_devices
from streamcodec_client.audio.pick import pick_sink, pick_source
from streamcodec_client.clock import MonotonicClock

clock, said, blocks, written = MonotonicClock(), [], [], []
source = pick_source("mic", clock, notify=said.append)
sink = pick_sink("speaker", clock, notify=said.append)
before = [source.index, sink.index]

def run(blocks_wanted):
    while len(blocks) < blocks_wanted:
        if (block := source.read(0.1)) is not None:
            blocks.append(block)
    while len(written) < blocks_wanted:
        if sink.wants_block(0.1):
            written.append(sink.write(np.zeros((sink.sample_rate // 100, 2), np.float32)))

source.start()
sink.start()
run(20)
source.switch("pulse")
sink.switch("pulse")
run(40)
after = [source.index, sink.index]
while_open = newest_devices()
run(60)
source.close()
sink.close()
alone = newest_devices()
print(json.dumps({
    "said": said,
    "changed": [one != other for one, other in zip(before, after)],
    "positions_in_order": [b.position for b in blocks] == sorted({b.position for b in blocks}),
    "newest": [while_open[1], alone[1]],
    "same": while_open[0] == alone[0],
}))
"""


@dataclasses.dataclass(frozen=True)
class Pulse:
    server: SoundServer

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(part for part in sys.path if part)
        return subprocess.run(
            [sys.executable, *arguments],
            env=self.server.environment() | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=SCRIPT_LIMIT_S,
            check=False,
        )


@pytest.fixture(scope="module")
def pulse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pulse]:
    if package := missing():
        pytest.skip(f"no sound server to test with: {package}")
    with SoundServer(tmp_path_factory.mktemp("pulse"), ["loop"]) as server:
        yield Pulse(server)


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


def test_devices_are_changed_while_sound_runs_and_looked_for_anew_after_it(pulse: Pulse) -> None:
    result = pulse.python("-c", SWITCH)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {
        "said": ["the microphone is now pulse", "the loudspeaker is now pulse"],
        "changed": [True, True],
        "positions_in_order": True,
        "newest": [False, True],
        "same": True,
    }


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


def test_doctor_times_the_path_from_loudspeaker_to_microphone(pulse: Pulse) -> None:
    arguments = ("doctor", "--loopback", "--json", "--url", "ws://127.0.0.1:9")
    result = pulse.python("-m", "streamcodec_client", *arguments)
    found = {line["about"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert found["sound path"]["todo"] == "", result.stderr
    text = found["sound path"]["text"]
    assert text.endswith(" ms through loudspeaker and microphone")
    assert 0 < float(text.split()[0]) < 2_000  # as long as it listens
