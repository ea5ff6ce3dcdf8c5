"""`streamcodec doctor`: whether this computer can hold a call, and what to do where it cannot."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np

import streamcodec
from streamcodec.config import DEFAULT_BITRATE_BPS
from streamcodec.errors import ConnectionRefused, StreamcodecError
from streamcodec.units import NS, Pcm
from streamcodec.wire.session import Message, Welcome

from ..audio.blocks import Sink, Source, block_samples, with_channels
from ..audio.devices import MicrophoneSource, SoundDevice, SpeakerSink, list_devices
from ..audio.level import FLOOR_DB, SILENT_DB, LevelMeter
from ..audio.recorded import default_source
from ..clock import Clock, MonotonicClock
from ..live.codec import EncodingSettings, load_codec
from ..live.member import Member, Seat
from .joining_options import ca_option, token_option

PACKET_MS = 20
TRIED_PACKETS = 100
MOST_SHARE = 0.4  # of a packet's time that its codec may take: something else runs, too
WELCOME_S, ROUND_TRIP_S = 5.0, 4.0
FAR_MS = 200.0
STARTS_S = 5.0  # some sound servers take seconds until a microphone delivers anything
CHIRP_S, LISTEN_S = 0.2, 2.0
CHIRP_HZ = (500.0, 4_000.0)
SERVED = ("default", "pulse", "pipewire")  # as ALSA calls devices of a sound server
LEAST_PEAK = 8.0  # of the correlation over its mean: below, nothing of the chirp was heard


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was looked at, and what was found. todo: what to do about it, empty where it is well."""

    about: str
    text: str
    todo: str = ""

    def line(self) -> str:
        mark = "!!" if self.todo else "ok"
        return f"{mark}  {self.about:<12} {self.text}" + (f": {self.todo}" if self.todo else "")


@click.command()
@click.option("--url", default="ws://127.0.0.1:8765", show_default=True, help="The relay.")
@ca_option
@click.option("--room", default="doctor", show_default=True, help="That is entered for a moment.")
@token_option
@click.option("--loopback", is_flag=True, help="Play a chirp, and time it to the microphone.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object for each line.")
def doctor(url: str, ca: Path | None, room: str, token: str, loopback: bool, as_json: bool) -> None:
    """Look at what a call needs: versions, the codec's speed, sound devices and a relay. One line
    each, with what to do; the exit status is 1 where something must be done.
    """
    clock = MonotonicClock()
    seat = Seat(url, room, "doctor", ca=ca, first_connection_s=WELCOME_S, token=token)
    checks: list[Callable[[], Iterator[Finding]]] = [
        versions,
        codec_speed,
        sound_devices,
        *([lambda: sound_path(clock)] if loopback else []),
        lambda: relay(seat, clock),
    ]
    well = True
    for check in checks:
        for finding in check():
            well = well and not finding.todo
            shown = json.dumps(dataclasses.asdict(finding)) if as_json else finding.line()
            click.echo(shown)
    if not well:
        raise SystemExit(1)


def versions() -> Iterator[Finding]:
    """Of this program and what it runs on."""
    text = f"streamcodec {streamcodec.__version__}, Python {platform.python_version()}"
    yield Finding("versions", f"{text}, {platform.system()} {platform.machine()}")


def codec_speed() -> Iterator[Finding]:
    """How long this computer takes for a packet, sent and heard."""
    try:
        codec = load_codec(None, "cpu", "auto")
    except StreamcodecError as error:
        yield Finding("codec", "cannot be loaded", str(error))
        return
    settings = EncodingSettings(bitrate_bps=DEFAULT_BITRATE_BPS, packet_ms=PACKET_MS)
    encoder = codec.encoder(settings)
    size = encoder.config.packet_samples
    noise = np.random.default_rng(0).standard_normal((TRIED_PACKETS, size, 1)) * 0.1
    took = []
    for pcm in noise.astype(np.float32):
        began = time.perf_counter()
        encoder.encode(pcm)
        took.append(1_000 * (time.perf_counter() - began))
    usual, slow = float(np.median(took)), float(np.percentile(took, 99))
    text = f"{usual:.1f} ms to encode {PACKET_MS} ms of voice, {slow:.1f} at worst"
    too_slow = slow > MOST_SHARE * PACKET_MS
    yield Finding(
        "codec",
        text,
        "too slow for a call: close what else is busy, or install a C compiler and install again"
        if too_slow
        else "",
    )


def sound_devices() -> Iterator[Finding]:
    """Which microphone and loudspeaker a call takes where nothing else is asked for."""
    try:
        found = list_devices()
    except StreamcodecError as error:
        yield Finding("sound", "no sound devices", str(error))
        return
    for about, default, wanted in (
        ("microphone", next((d for d in found if d.default_input), None), "--source FILE"),
        ("loudspeaker", next((d for d in found if d.default_output), None), "--sink FILE"),
    ):
        if default is None:
            todo = f"connect one, or choose with --device (`streamcodec devices`), or {wanted}"
            yield Finding(about, "there is no default one", todo)
        else:
            yield Finding(about, *_described(default))


def _described(device: SoundDevice) -> tuple[str, str]:
    """-> what it is, and what to do about it."""
    text = f"{device.name} ({device.host_api}), {device.sample_rate} Hz"
    if not device.default_input or device.name not in SERVED:
        return text, ""
    source = default_source(os.environ)
    if source is None or not source.monitor:
        return text, ""
    todo = f"{source.trouble}; choose one in the system's sound settings"
    return f"{text}, from {source.name}", todo


def sound_path(clock: Clock) -> Iterator[Finding]:
    """How long sound takes through loudspeaker and microphone, by a chirp."""
    try:
        with contextlib.ExitStack() as opened:
            microphone = MicrophoneSource(clock, None, None, 1)
            opened.callback(microphone.close)
            speaker = SpeakerSink(clock, None, microphone.sample_rate, None)
            opened.callback(speaker.close)
            chirp = chirp_at(microphone.sample_rate)
            heard, written_ns, came_ns = _played_and_heard(clock, speaker, microphone, chirp)
    except StreamcodecError as error:
        yield Finding("sound path", "cannot be measured", str(error))
        return
    meter = LevelMeter(microphone.sample_rate)
    meter.add(heard)
    if meter.level.peak_db < SILENT_DB or not len(heard):
        yield Finding(
            "sound path",
            f"the microphone hears nothing ({max(meter.level.peak_db, FLOOR_DB):.0f} dB)",
            "is it muted, or another one chosen?",
        )
        return
    at = found_at(heard[:, 0], chirp)
    if at is None:
        todo = "turn the loudspeaker up, or take headphones off the microphone"
        yield Finding("sound path", "the microphone does not hear the loudspeaker", todo)
        return
    delay_ms = (came_ns[at // block_samples(microphone.sample_rate)] - written_ns) / 1e6
    yield Finding("sound path", f"{delay_ms:.0f} ms through loudspeaker and microphone")


def chirp_at(sample_rate: int) -> Pcm:
    """[T], from low to high: no echo of it resembles it at another time."""
    at = np.arange(round(CHIRP_S * sample_rate)) / sample_rate
    low, high = CHIRP_HZ
    phase = 2 * np.pi * (low * at + (high - low) / (2 * CHIRP_S) * at**2)
    chirp: Pcm = (0.5 * np.sin(phase) * np.hanning(len(at))).astype(np.float32)
    return chirp


def found_at(heard: Pcm, chirp: Pcm) -> int | None:
    """Where the chirp begins in what was heard [T]; None where it is not in it."""
    size = 1 << (len(heard) + len(chirp)).bit_length()
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(chirp, size))
    matches = np.abs(np.fft.irfft(spectrum, size)[: len(heard)])
    at = int(np.argmax(matches))
    return at if matches[at] > LEAST_PEAK * float(np.mean(matches)) else None


def _played_and_heard(
    clock: Clock, speaker: Sink, microphone: Source, chirp: Pcm
) -> tuple[Pcm, int, list[int]]:
    """-> what was heard [T, 1], when the chirp was given to the loudspeaker, and when each block of
    what was heard came, ns.
    """
    size = block_samples(speaker.sample_rate)
    silence = np.zeros(round(0.3 * speaker.sample_rate), np.float32)
    pcm = np.concatenate([silence, chirp, np.zeros_like(silence), np.zeros(size, np.float32)])
    blocks = [pcm[i : i + size] for i in range(0, len(pcm) - size, size)]
    first_chirp = len(silence) // size
    microphone.start()
    speaker.start()
    heard: list[Pcm] = []
    came_ns: list[int] = []
    written_ns, end_ns = 0, clock.now_ns() + round(STARTS_S * NS)
    while clock.now_ns() < end_ns:
        if heard and blocks and speaker.wants_block(0.0):
            speaker.write(with_channels(blocks.pop(0)[:, None], speaker.channels))
            first_chirp -= 1
            if first_chirp == -1:
                written_ns = clock.now_ns()
        block = microphone.read(0.005)
        if block is not None:
            if not heard:
                end_ns = clock.now_ns() + round(LISTEN_S * NS)
            came_ns.append(clock.now_ns())
            heard.append(with_channels(block.pcm, 1))
    return np.concatenate(heard or [np.zeros((0, 1), np.float32)]), written_ns, came_ns


class _Visitor:
    """Is told when the relay lets us in."""

    def __init__(self) -> None:
        self.welcomed = asyncio.Event()

    def connected(self, welcome: Welcome, connection: int) -> None:
        self.welcomed.set()

    def disconnected(self, reason: str) -> None:
        """It tries again."""

    def media(self, datagram: bytes, received_ns: int) -> None:
        """Nobody listens."""

    def message(self, message: Message) -> None:
        """Nothing that it says matters."""


def relay(seat: Seat, clock: Clock) -> Iterator[Finding]:
    """Whether it lets us in, how fast, and how far away it is."""
    try:
        connect_ms, rtt_ms = asyncio.run(_visit(seat, clock))
    except StreamcodecError as error:
        yield Finding("relay", f"{seat.url} lets nobody in", _why(error, seat.url))
        return
    text = f"{seat.url}, connected in {connect_ms:.0f} ms"
    if rtt_ms is not None:
        text += f", round trip {rtt_ms:.0f} ms"
    far = rtt_ms is not None and rtt_ms > FAR_MS
    yield Finding("relay", text, "far away: people will talk over each other" if far else "")


def _why(error: StreamcodecError, url: str) -> str:
    """Why a relay lets nobody in, without its URL, which was named already. Where nobody answered,
    and nothing is asked yet, also what to look at.
    """
    said = str(error).partition(f"{url}: ")[2] or str(error)
    unanswered = isinstance(error, ConnectionRefused) and error.close_code is None
    if unanswered and not said.endswith("?"):
        said += "; is it running there, and the address right?"
    return said


async def _visit(seat: Seat, clock: Clock) -> tuple[float, float | None]:
    """-> ms until the welcome, and the round trip."""
    visitor, began_ns = _Visitor(), clock.now_ns()
    member = Member(seat, clock, None, None, [visitor])
    member.begin()
    try:
        await member.ends(asyncio.ensure_future(visitor.welcomed.wait()))
        connect_ms = (clock.now_ns() - began_ns) / 1e6
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ROUND_TRIP_S):
                while visitor.welcomed.is_set() and member.sync.rtt_ms is None:
                    await asyncio.sleep(0.02)
    finally:
        await member.leave()
    return connect_ms, member.sync.rtt_ms
