"""What the flags of `send`, `listen` and `talk` ask of codec, sources, sinks and session."""

from __future__ import annotations

import dataclasses
from typing import Any

import jwt
import pytest

from fakes import FakeEncoder, FakeModel, ManualClock, ScriptedSource, SteppedSink
from streamcodec_client.audio.pick import LATE_THREAD_MS
from streamcodec_client.cli import main
from streamcodec_client.commands import live, live_options
from streamcodec_client.live.codec import EncodingSettings
from streamcodec_client.live.member import Seat
from streamcodec_client.live.session import LiveSettings


@dataclasses.dataclass
class Asked:
    """What a command asked for, instead of running a session."""

    encoding: EncodingSettings | None = None
    settings: LiveSettings | None = None
    source: dict[str, Any] = dataclasses.field(default_factory=dict)
    sink: dict[str, Any] = dataclasses.field(default_factory=dict)
    model: tuple[str | None, str, str] = (None, "", "")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Every source is in stereo, as some microphones are."""
    asked = Asked()

    class RecordingModel(FakeModel):
        def encoder(self, settings: EncodingSettings) -> FakeEncoder:
            asked.encoding = settings
            return super().encoder(settings)

    def load_codec(model: str | None, device: str, engine: str, *band: object) -> FakeModel:
        asked.model = model, device, engine
        return RecordingModel()

    def pick_source(
        spec: str, clock: object, *, warn: object, notify: object, **device: object
    ) -> ScriptedSource:
        asked.source = device | {"spec": spec}
        return ScriptedSource(channels=2)

    def pick_sink(spec: str, clock: object, *, notify: object, **device: object) -> SteppedSink:
        asked.sink = device | {"spec": spec}
        return SteppedSink(ManualClock())

    async def run_live(settings: LiveSettings, *parts: object) -> None:
        asked.settings = settings

    monkeypatch.setattr(live, "load_codec", load_codec)
    monkeypatch.setattr(live, "run_live", run_live)
    monkeypatch.setattr(live_options, "pick_source", pick_source)
    monkeypatch.setattr(live_options, "pick_sink", pick_sink)
    monkeypatch.setattr(live_options, "check_sink", lambda spec, **device: None)
    return asked


def test_every_flag_of_talk_reaches_its_part(asked: Asked) -> None:
    command = (
        "talk --url ws://relay:1 --room stage --name Ann --duration 3 --quiet --source tone --mono "
        "--sink null --exit-when-done --device in --rate 48000 --channels 2 --output-device out "
        "--bitrate 9k --capped --packet-ms 40 --redundancy 2 --take-copies 1 "
        "--model mine --codec-device cpu --engine torch"
    )
    assert main(command.split()) == 0
    assert asked.encoding == EncodingSettings(
        9_000.0, None, capped=True, channels=1, packet_ms=40, redundancy=2
    )
    assert asked.settings == LiveSettings(
        Seat("ws://relay:1", "stage", "Ann", 1, presence=True),
        3.0,
        exit_when_done=True,
        impairment=None,
        source="the tone",
    )
    source = {"spec": "tone", "device": "in", "rate": 48_000, "channels": 2, "mono": True}
    assert asked.source == source
    sink = {"spec": "null", "device": "out", "rate": 48_000, "channels": 2}
    assert asked.sink == sink | {"ahead_ms": LATE_THREAD_MS + FakeModel.slowest_step_ms}
    assert asked.model == ("mine", "cpu", "torch")


def test_without_flags_talk_sends_the_microphone_at_9_kbps(asked: Asked) -> None:
    assert main(["talk", "--name", "Ann"]) == 0
    assert asked.encoding == EncodingSettings(bitrate_bps=9_000.0)
    assert asked.settings == LiveSettings(
        Seat("ws://127.0.0.1:8765", "lobby", "Ann", 4, presence=True),
        None,
        exit_when_done=False,
        source="the microphone",
    )
    source = {"spec": "mic", "device": None, "rate": None, "channels": None, "mono": False}
    assert asked.source == source
    sink = {"spec": "speaker", "device": None, "rate": None, "channels": None}
    assert asked.sink == sink | {"ahead_ms": LATE_THREAD_MS + FakeModel.slowest_step_ms}


def test_the_name_in_a_token_is_ones_own_because_the_relay_shows_it_to_others(
    asked: Asked,
) -> None:
    keys = "k" * 32
    for claims, name in (
        ({"name": "Dr. Ada"}, "Dr. Ada"),
        ({}, "Ann"),
        ({"name": ""}, "Ann"),
        ({"name": 3}, "Ann"),
        ({"name": "x" * 200}, "Ann"),
        ({"name": "Ada", "exp": 1}, "Ada"),  # the relay says what is wrong with it
    ):
        token = jwt.encode(claims, keys, "HS256")
        assert main(["talk", "--name", "Ann", "--token", token]) == 0
        assert asked.settings is not None
        assert asked.settings.seat.name == name
        assert asked.settings.seat.token == token
    assert main(["talk", "--name", "Ann", "--token", "no token"]) == 0
    assert asked.settings is not None
    assert asked.settings.seat.name == "Ann"


def test_a_quality_takes_the_place_of_the_bit_rate(asked: Asked) -> None:
    assert main(["send", "--source", "tone", "--quality", "0.5"]) == 0
    assert asked.encoding is not None
    assert (asked.encoding.bitrate_bps, asked.encoding.quality) == (None, 0.5)


@pytest.mark.parametrize(
    ("flags", "channels"),
    [
        ("--source tone", 2),
        ("--source tone --mono", 1),
        ("--source mic", 1),  # one voice, also where the device knows only stereo
        ("--source mic --channels 2", 2),
        ("--source mic --channels 2 --mono", 1),
    ],
)
def test_how_many_channels_of_a_stereo_source_are_sent(
    asked: Asked, flags: str, channels: int
) -> None:
    assert main(["send", *flags.split()]) == 0
    assert asked.encoding is not None
    assert asked.encoding.channels == channels


def test_talk_plays_through_the_device_that_it_records_from(asked: Asked) -> None:
    assert main(["talk", "--device", "headset"]) == 0
    assert (asked.source["device"], asked.sink["device"]) == ("headset", "headset")


def test_listen_simulates_the_network_it_was_asked_for(asked: Asked) -> None:
    flags = "--sink null --sim-loss 10 --sim-jitter 5 --sim-drift 30 --take-copies 0"
    assert main(["listen", *flags.split()]) == 0
    assert asked.settings is not None
    assert asked.settings.seat.take_copies == 0
    impairment = asked.settings.impairment
    assert impairment is not None
    assert (impairment.loss, impairment.jitter_ms, impairment.drift_ppm) == (0.1, 5.0, 30.0)
