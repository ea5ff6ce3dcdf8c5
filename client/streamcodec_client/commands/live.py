"""`streamcodec send`, `listen` and `talk`."""

from __future__ import annotations

import asyncio
import getpass
import math
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import click

from streamcodec.errors import ConfigError
from streamcodec.live.adaptive import DEFAULT_BOUNDS, DelayBounds
from streamcodec.wire.overhead import OVERHEAD_NOTE

from ..audio.blocks import Sink, Source
from ..audio.pick import SINK_FORMS, SOURCE_FORMS, pick_sink, pick_source
from ..clock import MonotonicClock
from ..live.codec import Codec, EncodingSettings, load_codec
from ..live.impair import Impairment, from_options
from ..live.receiver import Receiver
from ..live.sender import Sender
from ..live.session import LiveSettings, run_live
from ..report.arrivals import ArrivalRecorder
from ..report.reporter import Reporter
from ..report.trace import Trace
from ..transport.url import check_url
from .options import (
    bitrate_or_quality,
    codec_options,
    dtx_option,
    rate_options,
    redundancy_option,
    take_copies_option,
)

LATENT_MS = 20
MAX_PLAYOUT_MS = 280  # what a buffer of 400 ms can hold back of packets of 60 ms
TRACE_PATH = click.Path(dir_okay=False, path_type=Path)
Command = Callable[..., Any]
Part = TypeVar("Part", Source, Sink, Trace, ArrivalRecorder)


class PlayoutType(click.ParamType[float | DelayBounds]):
    """60 -> a fixed delay; adaptive, 20..400 -> bounds of one that adapts. All in milliseconds."""

    name = "playout"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | DelayBounds:
        if isinstance(value, DelayBounds):
            return value
        if value == "adaptive":
            return DEFAULT_BOUNDS
        low, dots, high = str(value).partition("..")
        if dots:
            try:
                return DelayBounds(float(low), float(high))
            except (ValueError, ConfigError) as error:
                self.fail(
                    str(error)
                    if isinstance(error, ConfigError)
                    else f"{value!r} is no range: write 20..400",
                    param,
                    ctx,
                )
        return click.FloatRange(0, MAX_PLAYOUT_MS).convert(value, param, ctx)


def _finite(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is no number of seconds")
    return value


def _session_options(command: Command) -> Command:
    options = (
        click.option("--url", default="ws://127.0.0.1:8765", show_default=True, help="The relay."),
        click.option("--room", default="lobby", show_default=True),
        click.option("--name", help="How others see you.  [default: the user's name]"),
        click.option(
            "--duration",
            type=click.FloatRange(min=0, min_open=True),
            callback=_finite,
            metavar="S",
            help="End after so many seconds.",
        ),
        click.option(
            "--trace", type=TRACE_PATH, metavar="FILE", help="Times of each packet, JSONL."
        ),
        click.option(
            "--json",
            "as_json",
            is_flag=True,
            help="One JSON object a second on stdout, and a summary.",
        ),
        click.option("--quiet", is_flag=True, help="No status line and no summary."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _source_options(command: Command) -> Command:
    command = click.option(
        "--mono", is_flag=True, help="Mix a stereo source; otherwise both channels are sent."
    )(command)
    return click.option("--source", default="mic", show_default=True, help=f"{SOURCE_FORMS}.")(
        command
    )


def _sink_options(command: Command) -> Command:
    command = click.option(
        "--exit-when-done",
        is_flag=True,
        help="End when there were talkers and all have left (and the source, if any, has ended).",
    )(command)
    command = click.option(
        "--playout-ms",
        type=PlayoutType(),
        default="adaptive",
        show_default=True,
        help=f"Delay that absorbs the network's jitter: as little as it allows within bounds (adaptive is 20..400), or fixed "
        f"(0 to {MAX_PLAYOUT_MS}).",
    )(command)
    return click.option("--sink", default="speaker", show_default=True, help=f"{SINK_FORMS}.")(
        command
    )


def _audio_options(command: Command) -> Command:
    command = click.option(
        "--channels",
        type=click.IntRange(1, 2),
        help="Of a device, raw PCM or a file written.  [default: 1]",
    )(command)
    command = click.option(
        "--rate",
        type=click.IntRange(8_000, 192_000),
        metavar="HZ",
        help="Of raw PCM and files written (16000), or of a device (its own).",
    )(command)
    return click.option(
        "--device",
        help="Name (or part of it) or index of the sound device; see `streamcodec devices`.",
    )(command)


@click.command(epilog=OVERHEAD_NOTE)
@_session_options
@_source_options
@_audio_options
@rate_options
@dtx_option
@redundancy_option
@codec_options
def send(
    url: str,
    room: str,
    name: str | None,
    duration: float | None,
    trace: Path | None,
    as_json: bool,
    quiet: bool,
    source: str,
    mono: bool,
    device: str | None,
    rate: int | None,
    channels: int | None,
    packet_ms: str,
    capped: bool,
    quality: float | None,
    bitrate: float | None,
    dtx: bool,
    redundancy: int,
    model: str | None,
    codec_device: str,
) -> None:
    """Send a microphone, a file, raw PCM or a tone into a room."""
    clock = MonotonicClock()
    settings = _settings(url, room, name, duration, exit_when_done=True)
    rates = bitrate_or_quality(bitrate, quality)
    with ExitStack() as opened:
        origin = _open(
            opened, pick_source(source, clock, device=device, rate=rate, channels=channels)
        )
        encoding = _encoding(
            origin,
            rates,
            mono=mono,
            channels=_sent_channels(source, channels),
            capped=capped,
            packet_ms=packet_ms,
            redundancy=redundancy,
        )
        trace_file = _open_trace(opened, trace)
        codec = load_codec(model, codec_device)
        sender = Sender(
            codec, origin, encoding, clock, duration_s=duration, dtx=dtx, trace=trace_file
        )
        reporter = Reporter(clock, as_json=as_json, quiet=quiet)
        asyncio.run(run_live(settings, clock, reporter, sender, None, [trace_file]))


@click.command(epilog=OVERHEAD_NOTE)
@_session_options
@_sink_options
@_audio_options
@take_copies_option
@click.option(
    "--record-trace",
    type=TRACE_PATH,
    metavar="FILE",
    help="When packets arrived, CSV, for `bench network --trace`.",
)
@click.option(
    "--sim-loss", default=0.0, metavar="PERCENT", help="Lose so many packets, in bursts of three."
)
@click.option(
    "--sim-jitter",
    default=0.0,
    metavar="MS",
    help="Delay packets by a normal jitter of this standard deviation.",
)
@click.option(
    "--sim-drift", default=0.0, metavar="PPM", help="As if the talker's clock ran so much slower."
)
@codec_options
def listen(
    url: str,
    room: str,
    name: str | None,
    duration: float | None,
    trace: Path | None,
    as_json: bool,
    quiet: bool,
    sink: str,
    playout_ms: float | DelayBounds,
    exit_when_done: bool,
    device: str | None,
    rate: int | None,
    channels: int | None,
    take_copies: int,
    record_trace: Path | None,
    sim_loss: float,
    sim_jitter: float,
    sim_drift: float,
    model: str | None,
    codec_device: str,
) -> None:
    """Play, or record, what is said in a room. Several talkers are mixed."""
    clock = MonotonicClock()
    impairment = from_options(sim_loss, sim_jitter, sim_drift)
    settings = _settings(
        url,
        room,
        name,
        duration,
        exit_when_done=exit_when_done,
        take_copies=take_copies,
        impairment=impairment,
    )
    _check_stdout(sink, as_json)
    with ExitStack() as opened:
        # first: a wrong name must not cost the recording that the sink overwrites
        codec = load_codec(model, codec_device)
        target = _open(opened, pick_sink(sink, clock, device=device, rate=rate, channels=channels))
        trace_file = _open_trace(opened, trace)
        recorder = None if record_trace is None else _open(opened, ArrivalRecorder(record_trace))
        reporter = Reporter(clock, as_json=as_json, quiet=quiet)
        receiver = _receiver(codec, target, clock, playout_ms, url, reporter, trace_file)
        asyncio.run(run_live(settings, clock, reporter, None, receiver, [trace_file, recorder]))


@click.command(epilog=OVERHEAD_NOTE)
@_session_options
@_source_options
@_sink_options
@_audio_options
@click.option("--output-device", help="Where it differs from --device.")
@click.option(
    "--listen-trace", type=TRACE_PATH, metavar="FILE", help="As --trace, for what is heard."
)
@rate_options
@dtx_option
@redundancy_option
@take_copies_option
@codec_options
def talk(
    url: str,
    room: str,
    name: str | None,
    duration: float | None,
    trace: Path | None,
    as_json: bool,
    quiet: bool,
    source: str,
    mono: bool,
    sink: str,
    playout_ms: float | DelayBounds,
    exit_when_done: bool,
    device: str | None,
    rate: int | None,
    channels: int | None,
    output_device: str | None,
    listen_trace: Path | None,
    packet_ms: str,
    capped: bool,
    quality: float | None,
    bitrate: float | None,
    dtx: bool,
    redundancy: int,
    take_copies: int,
    model: str | None,
    codec_device: str,
) -> None:
    """Send and listen at once, over one connection."""
    clock = MonotonicClock()
    settings = _settings(
        url, room, name, duration, exit_when_done=exit_when_done, take_copies=take_copies
    )
    rates = bitrate_or_quality(bitrate, quality)
    _check_stdout(sink, as_json)
    _check_not_same(source, sink)
    with ExitStack() as opened:
        codec = load_codec(model, codec_device)
        origin = _open(
            opened, pick_source(source, clock, device=device, rate=rate, channels=channels)
        )
        target = _open(
            opened,
            pick_sink(sink, clock, device=output_device or device, rate=rate, channels=channels),
        )
        encoding = _encoding(
            origin,
            rates,
            mono=mono,
            channels=_sent_channels(source, channels),
            capped=capped,
            packet_ms=packet_ms,
            redundancy=redundancy,
        )
        traces = [_open_trace(opened, trace), _open_trace(opened, listen_trace)]
        reporter = Reporter(clock, as_json=as_json, quiet=quiet)
        sender = Sender(
            codec, origin, encoding, clock, duration_s=duration, dtx=dtx, trace=traces[0]
        )
        receiver = _receiver(codec, target, clock, playout_ms, url, reporter, traces[1])
        asyncio.run(run_live(settings, clock, reporter, sender, receiver, traces))


def _settings(
    url: str,
    room: str,
    name: str | None,
    duration: float | None,
    *,
    exit_when_done: bool,
    take_copies: int = 0,
    impairment: Impairment | None = None,
) -> LiveSettings:
    who = _user_name() if name is None else name
    return LiveSettings(
        check_url(url), room, who, duration, exit_when_done, impairment, take_copies
    )


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no entry in the system's list
        return "somebody"


def _check_stdout(sink: str, as_json: bool) -> None:
    if sink == "-" and as_json:
        raise ConfigError("--sink - and --json both want standard output; give one of them")


def _check_not_same(source: str, sink: str) -> None:
    if Path(source).exists() and Path(sink).exists() and Path(source).samefile(sink):
        raise ConfigError(f"--source and --sink are both {source}: the recording would be lost")


def _open(opened: ExitStack, part: Part) -> Part:
    opened.callback(part.close)
    return part


def _open_trace(opened: ExitStack, path: Path | None) -> Trace | None:
    return None if path is None else _open(opened, Trace(path))


def _sent_channels(source: str, channels: int | None) -> int | None:
    """A microphone that knows only stereo still carries one voice, unless two channels were asked
    for.
    """
    return channels or 1 if source == "mic" else None


def _encoding(
    source: Source,
    rates: tuple[float | None, float | None],
    *,
    mono: bool,
    channels: int | None,
    capped: bool,
    packet_ms: str,
    redundancy: int,
) -> EncodingSettings:
    return EncodingSettings(
        bitrate_bps=rates[0],
        quality=rates[1],
        capped=capped,
        channels=1 if mono else channels or source.channels,
        latents_per_payload=int(packet_ms) // LATENT_MS,
        redundancy=redundancy,
    )


def _receiver(
    codec: Codec,
    sink: Sink,
    clock: MonotonicClock,
    playout: float | DelayBounds,
    url: str,
    reporter: Reporter,
    trace: Trace | None,
) -> Receiver:
    return Receiver(
        codec,
        sink,
        clock,
        playout=playout,
        tls=url.startswith("wss:"),
        notify=reporter.warning,
        trace=trace,
    )
