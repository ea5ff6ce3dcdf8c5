"""What a sound server records for a process: its lists, and a real server whose microphone goes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamcodec_bench.sound_server import SoundServer, missing
from streamcodec_client.audio import recorded as module
from streamcodec_client.audio.recorded import (
    Recorded,
    RecordedWatch,
    default_source,
    recorded_by,
    server_there,
)

MICROPHONE = {"index": 1, "name": "mic0", "description": "Headset", "monitor_source": ""}
MONITOR = {
    "index": 0,
    "name": "loop.monitor",
    "description": "Monitor of Speakers",
    "monitor_source": "loop",
    "properties": {"device.class": "monitor"},
}
SOURCES = [MONITOR, MICROPHONE]


def output(process: int, source: int) -> dict[str, Any]:
    return {"source": source, "properties": {"application.process.id": str(process)}}


def test_the_source_of_our_stream_is_found_among_those_of_others() -> None:
    outputs = [output(7, 0), output(8, 1), {"source": 0}]
    assert recorded_by(8, outputs, SOURCES) == Recorded("Headset", False)
    assert recorded_by(7, outputs, SOURCES) == Recorded("Monitor of Speakers", True)
    assert recorded_by(9, outputs, SOURCES) is None
    # of a switch both streams are there for a moment: the newer one counts
    assert recorded_by(7, [*outputs, output(7, 1)], SOURCES) == Recorded("Headset", False)


@pytest.mark.parametrize(
    "monitor", [MONITOR | {"properties": {}}, MONITOR | {"monitor_source": ""}]
)
def test_a_monitor_is_known_by_either_sign(monitor: dict[str, Any]) -> None:
    found = recorded_by(7, [output(7, 0)], [monitor])
    assert found is not None
    assert found.monitor


@pytest.mark.parametrize("odd", [[None], [{}], ["x"], [{"source": 3}], [{"properties": [1]}]])
def test_lists_that_are_not_as_they_should_be_tell_nothing(odd: list[Any]) -> None:
    assert recorded_by(7, odd, SOURCES) is None
    assert recorded_by(7, [output(7, 0)], odd) is None


def test_a_source_without_a_description_is_called_by_its_name() -> None:
    found = recorded_by(7, [output(7, 4)], [{"index": 4, "name": "alsa.hw_0"}])
    assert found == Recorded("alsa.hw_0", False)


def test_trouble_and_news() -> None:
    headset, speakers = Recorded("Headset", False), Recorded("Monitor of Speakers", True)
    assert headset.trouble == headset.news(None) == speakers.news(headset) == ""
    assert speakers.trouble == (
        "others hear themselves: Monitor of Speakers is recorded, not a microphone"
    )
    assert headset.news(speakers) == "the sound server records from Headset now"


def test_no_server_is_asked_where_none_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert server_there({"PULSE_SERVER": "unix:/x"})
    assert not server_there({})
    assert not server_there({"XDG_RUNTIME_DIR": str(tmp_path)})
    (tmp_path / "pulse").mkdir()
    (tmp_path / "pulse" / "native").touch()
    assert server_there({"XDG_RUNTIME_DIR": str(tmp_path)})
    assert server_there({"PULSE_RUNTIME_PATH": str(tmp_path / "pulse")})
    monkeypatch.setattr(module, "PACTL", "there-is-no-such-tool")
    assert default_source({"PULSE_SERVER": "unix:/x"}) is None
    assert module.asked("sources") is None
    RecordedWatch(lambda trouble, news: None).close()


def test_a_watch_ends_while_it_waits_for_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACTL", sys.executable)
    for name in ("PULSE_SERVER", "PULSE_RUNTIME_PATH", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    watch = RecordedWatch(lambda trouble, news: None)
    watch.close()
    watch.close()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoundServer]:
    """With a microphone that is the default, and can be unplugged."""
    if package := missing():
        pytest.skip(f"no sound server to test with: {package}")
    with SoundServer(tmp_path, ["loop"]) as made:
        for name, value in made.environment().items():
            if name != "PULSE_SOURCE":
                monkeypatch.setenv(name, value)
        monkeypatch.delenv("PULSE_SOURCE", raising=False)
        pactl("load-module", "module-null-source", "source_name=mic0", "description=Headset")
        pactl("set-default-source", "mic0")
        yield made


def pactl(*words: str) -> None:
    subprocess.run(["pactl", *words], check=True, capture_output=True)


@contextlib.contextmanager
def recorder(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that records."""
    with subprocess.Popen(["parec", *arguments], stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()


class Told:
    def __init__(self) -> None:
        self.all: list[tuple[str, str]] = []
        self._some = threading.Condition()

    def __call__(self, trouble: str, news: str) -> None:
        with self._some:
            self.all.append((trouble, news))
            self._some.notify()

    def wait(self, count: int) -> list[tuple[str, str]]:
        with self._some:
            assert self._some.wait_for(lambda: len(self.all) >= count, 30), self.all
            return self.all


TROUBLE = "others hear themselves: Monitor of Null Output is recorded, not a microphone"


def test_a_microphone_that_is_unplugged_and_comes_back_is_told(server: SoundServer) -> None:
    told = Told()
    with recorder() as process:
        watch = RecordedWatch(told, process.pid)
        assert told.wait(1) == [("", "")]
        pactl("unload-module", "module-null-source")
        assert told.wait(2)[1] == (TROUBLE, "")
        pactl("load-module", "module-null-source", "source_name=mic1", "description=Webcam")
        number = json.loads(
            subprocess.check_output(["pactl", "-f", "json", "list", "source-outputs"])
        )[0]["index"]
        pactl("move-source-output", str(number), "mic1")
        assert told.wait(3)[2] == ("", "the sound server records from Webcam now")
        process.terminate()
        assert told.wait(4)[3] == ("", "")
        watch.close()


def test_a_server_that_ends_is_no_trouble_and_one_that_comes_back_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if package := missing():
        pytest.skip(f"no sound server to test with: {package}")
    monkeypatch.setattr(module, "RETRY_S", 0.1)
    told = Told()
    servers = [SoundServer(tmp_path, ["loop"]) for _ in range(2)]
    for name, value in servers[0].environment().items():
        monkeypatch.setenv(name, value)
    processes = []
    for number, made in enumerate(servers):
        with made, recorder() as process:
            processes.append(process)
            watch = RecordedWatch(told, process.pid)
            told.wait(2 * number + 1)
            time.sleep(0.2)
        told.wait(2 * number + 2)
        watch.close()
        (tmp_path / "native").unlink(missing_ok=True)
    assert told.all == [(TROUBLE, ""), ("", "")] * 2


def test_the_default_source_is_told_to_doctor(server: SoundServer) -> None:
    assert default_source(os.environ) == Recorded("Headset", False)
    assert default_source(os.environ | {"PULSE_SOURCE": "loop.monitor"}) == Recorded(
        "Monitor of Null Output", True
    )
    listed = [
        sys.executable,
        "-m",
        "streamcodec_client",
        "doctor",
        "--json",
        "--url",
        "ws://127.0.0.1:9",
    ]
    path = os.pathsep.join(part for part in sys.path if part)
    for source, wrong in (("mic0", ""), ("loop.monitor", TROUBLE)):
        ran = subprocess.run(
            listed,
            env=os.environ | {"PYTHONPATH": path, "PULSE_SOURCE": source},
            capture_output=True,
            text=True,
            check=False,
        )
        found = {line["about"]: line for line in map(json.loads, ran.stdout.splitlines())}
        assert found["microphone"]["todo"].startswith(wrong)
        assert bool(found["microphone"]["todo"]) is bool(wrong)
