"""`streamcodec send`, `listen` and `talk`."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import click

from streamcodec.files import NamedPath, check_folders, check_new
from streamcodec.live.adaptive import DelayBounds
from streamcodec.units import Pcm
from streamcodec.wire.overhead import OVERHEAD_NOTE

from ..audio.blocks import Sink, Source
from ..clock import Clock, MonotonicClock
from ..live.codec import Codec, EncodingSettings, ModelCodec, load_codec
from ..live.encryption import RoomKey
from ..live.impair import Impairment, from_options
from ..live.member import Seat
from ..live.receiver import HeardBlock, Receiver
from ..live.recorder import Recorder
from ..live.sender import Sender
from ..live.session import Display, LiveSettings, run_live
from ..report.arrivals import ArrivalRecorder
from ..report.reporter import Reporter
from ..report.trace import NO_TRACE, FileTrace, Trace
from ..transport.opening import route_to
from .live_devices import loudspeaker, microphone, name_of, offer, watch
from .live_options import (
    OUTPUT_FILE,
    DeviceOptions,
    DuplexOptions,
    SessionOptions,
    SimulationOptions,
    SinkOptions,
    SourceOptions,
    TransmissionOptions,
    device_options,
    duplex_options,
    session_options,
    simulation_options,
    sink_options,
    source_options,
    take_copies_option,
    transmission_options,
)
from .live_voice import HEADPHONES, VoiceOptions, voice_options
from .options import CodecOptions, RateOptions, check_files, codec_options, rate_options

Closable = TypeVar("Closable", Source, Sink, FileTrace, ArrivalRecorder, Recorder)


record_option = click.option(
    "--record",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="A FLAC file of each person, aligned by when it was said, and at the end the mix.",
)


@click.command(epilog=OVERHEAD_NOTE)
@session_options
@source_options
@device_options
@rate_options
@transmission_options
@voice_options("off")
@codec_options
def send(
    session: SessionOptions,
    source: SourceOptions,
    device: DeviceOptions,
    rate: RateOptions,
    transmission: TransmissionOptions,
    voice: VoiceOptions,
    codec: CodecOptions,
) -> None:
    """Send a microphone, a file, raw PCM or a tone into a room."""
    source.check(device)
    clock = MonotonicClock()
    settings = _settings(session, exit_when_done=True)
    _check_files([*codec.reads, *source.reads], session.writes, force=session.force)
    key = session.key()
    reporter = _display(session, clock)
    with ExitStack() as opened:
        # What is written is opened last: a wrong setting must not cost what it would replace.
        origin = _open(opened, source.open(clock, device, reporter.warning))
        encoding = _encoding(rate, transmission, source.sent_channels(origin, device))
        loaded = _codec(codec, origin.sample_rate)
        loaded.encoder(encoding)  # raises what is wrong with its rate
        processing = voice.settings(
            source.source, loaded.sample_rate, reporter.warning, usual=False
        )
        trace = _open_trace(opened, session.trace)
        sender = Sender(
            loaded,
            origin,
            encoding,
            clock,
            duration_s=session.duration_s,
            dtx=transmission.dtx,
            trace=trace,
            key=key,
            voice=processing,
        )
        spoken = microphone(origin, source.source)
        offer(reporter, spoken)
        watch(opened, reporter, spoken)
        asyncio.run(run_live(settings, clock, reporter, sender, None, [trace]))


@click.command(epilog=OVERHEAD_NOTE)
@session_options
@sink_options
@device_options
@take_copies_option
@record_option
@click.option(
    "--record-trace",
    type=OUTPUT_FILE,
    metavar="FILE",
    help="When packets arrived, CSV, for `bench network --trace`.",
)
@simulation_options
@codec_options
def listen(
    session: SessionOptions,
    sink: SinkOptions,
    device: DeviceOptions,
    take_copies: int,
    record: Path | None,
    record_trace: Path | None,
    simulation: SimulationOptions,
    codec: CodecOptions,
) -> None:
    """Play, or record, what is said in a room. Several talkers are mixed."""
    clock = MonotonicClock()
    settings = _settings(
        session,
        exit_when_done=sink.exit_when_done,
        take_copies=take_copies,
        impairment=from_options(simulation.sim_loss, simulation.sim_jitter, simulation.sim_drift),
    )
    sink.check_stdout(session)
    written = [*sink.writes, *session.writes, ("--record-trace", record_trace)]
    _check_files(codec.reads, written, force=session.force)
    sink.check(device)
    key = session.key()
    reporter = _display(session, clock)
    with ExitStack() as opened:
        # First: a wrong model name must not cost the recording that the sink overwrites.
        loaded = _codec(codec, sink.rate(device))
        target = _open(opened, sink.open(clock, device, loaded, reporter.warning))
        trace = _open_trace(opened, session.trace)
        arrivals = None if record_trace is None else _open(opened, ArrivalRecorder(record_trace))
        recorder = _recorder(opened, record, loaded, session, reporter)
        receiver = _receiver(
            loaded, target, clock, sink.playout_ms, session.url, reporter, trace, key, recorder
        )
        offer(reporter, loudspeaker(target, sink.sink))
        asyncio.run(run_live(settings, clock, reporter, None, receiver, [trace, arrivals]))


@click.command(epilog=OVERHEAD_NOTE)
@session_options
@source_options
@sink_options
@device_options
@duplex_options
@rate_options
@transmission_options
@voice_options("on, for a microphone")
@take_copies_option
@record_option
@codec_options
def talk(
    session: SessionOptions,
    source: SourceOptions,
    sink: SinkOptions,
    device: DeviceOptions,
    duplex: DuplexOptions,
    rate: RateOptions,
    transmission: TransmissionOptions,
    voice: VoiceOptions,
    take_copies: int,
    record: Path | None,
    codec: CodecOptions,
) -> None:
    """Send and listen at once, over one connection."""
    clock = MonotonicClock()
    settings = _settings(
        session,
        exit_when_done=sink.exit_when_done,
        take_copies=take_copies,
        source=name_of(source.source),
    )
    sink.check_stdout(session)
    written = [*sink.writes, *session.writes, *duplex.writes]
    _check_files([*codec.reads, *source.reads], written, force=session.force)
    output = dataclasses.replace(device, device=duplex.output_device or device.device)
    sink.check(output)
    key = session.key()
    reporter = _display(session, clock, push_to_talk=duplex.push_to_talk)
    with ExitStack() as opened:
        # What is written is opened last: a wrong setting must not cost what it would replace.
        origin = _open(opened, source.open(clock, device, reporter.warning))
        encoding = _encoding(rate, transmission, source.sent_channels(origin, device))
        loaded = _codec(codec, origin.sample_rate)
        loaded.encoder(encoding)  # raises what is wrong with its rate
        processing = voice.settings(source.source, loaded.sample_rate, reporter.warning, usual=True)
        target = _open(opened, sink.open(clock, output, loaded, reporter.warning))
        traces = [_open_trace(opened, path) for path in (session.trace, duplex.listen_trace)]
        recorder = _recorder(opened, record, loaded, session, reporter)
        sender = Sender(
            loaded,
            origin,
            encoding,
            clock,
            duration_s=session.duration_s,
            dtx=transmission.dtx,
            trace=traces[0],
            key=key,
            tap=_nothing_said if recorder is None else recorder.said,
            voice=processing,
        )
        receiver = _receiver(
            loaded, target, clock, sink.playout_ms, session.url, reporter, traces[1], key, recorder
        )
        spoken = microphone(origin, source.source)
        offer(reporter, spoken, loudspeaker(target, sink.sink))
        watch(opened, reporter, spoken)
        if source.source == "mic" and sink.sink == "speaker":
            reporter.notice(HEADPHONES)
        asyncio.run(run_live(settings, clock, reporter, sender, receiver, traces))


def _codec(options: CodecOptions, rate: int | None) -> ModelCodec:
    """rate: of what is sent; None where nothing is. Raises ModelError, ConfigError."""
    return load_codec(options.model, options.codec_device, options.engine, options.band, rate)


def _settings(
    session: SessionOptions,
    *,
    exit_when_done: bool,
    take_copies: int = 0,
    impairment: Impairment | None = None,
    source: str = "",
) -> LiveSettings:
    route_to(session.url, session.ca)  # before anything is opened, or overwritten
    return LiveSettings(
        Seat(
            session.url,
            session.room,
            session.shown_name,
            take_copies,
            session.ca,
            token=session.token,
            presence=True,
        ),
        duration_s=session.duration_s,
        exit_when_done=exit_when_done,
        impairment=impairment,
        source=source,
    )


def _check_files(inputs: list[NamedPath], outputs: list[NamedPath], *, force: bool) -> None:
    """Raises ConfigError, OutputError: before anything of what is there is lost."""
    check_files(inputs, outputs)
    check_folders(outputs)
    if not force:
        check_new(outputs)


def _display(session: SessionOptions, clock: Clock, *, push_to_talk: bool = False) -> Display:
    """A screen, where there is a terminal for it, else lines."""
    from ..screen.display import Screen, fits

    if not session.screen or not fits(as_json=session.as_json, quiet=session.quiet):
        return Reporter(clock, as_json=session.as_json, quiet=session.quiet)
    where = f"{session.room} at {session.url}"
    return Screen(
        clock, where, session.shown_name, push_to_talk=push_to_talk, verbose=session.verbose
    )


def _recorder(
    opened: ExitStack,
    folder: Path | None,
    codec: Codec,
    session: SessionOptions,
    display: Display,
) -> Recorder | None:
    """None where nothing is to be recorded. Raises OutputError."""
    from ..screen.display import Screen

    if folder is None:
        return None
    made = Recorder(
        folder, codec.sample_rate, MonotonicClock(), session.shown_name, display.warning
    )
    recorder = _open(opened, made)
    if isinstance(display, Screen):
        display.recorder = recorder
    return recorder


def _open(opened: ExitStack, part: Closable) -> Closable:
    opened.callback(part.close)
    return part


def _open_trace(opened: ExitStack, path: Path | None) -> Trace:
    return NO_TRACE if path is None else _open(opened, FileTrace(path))


def _encoding(
    rate: RateOptions, transmission: TransmissionOptions, channels: int
) -> EncodingSettings:
    return EncodingSettings(
        bitrate_bps=rate.bitrate_of(channels),
        quality=rate.quality,
        capped=rate.capped,
        channels=channels,
        packet_ms=rate.packet_ms,
        redundancy=transmission.redundancy,
    )


def _receiver(
    codec: Codec,
    sink: Sink,
    clock: Clock,
    playout: float | DelayBounds,
    url: str,
    reporter: Display,
    trace: Trace,
    key: RoomKey | None,
    recorder: Recorder | None,
) -> Receiver:
    return Receiver(
        codec,
        sink,
        clock,
        playout=playout,
        tls=url.startswith("wss:"),
        notify=reporter.warning,
        trace=trace,
        tap=_nothing_heard if recorder is None else recorder.heard,
        key=key,
    )


def _nothing_said(pcm: Pcm, captured_ns: int) -> None:
    """Nobody records."""


def _nothing_heard(blocks: Sequence[HeardBlock]) -> None:
    """Nobody records."""
