"""Options of `streamcodec send`, `listen` and `talk`: a frozen dataclass for each group, and the
decorator that adds the group to a command.
"""

from __future__ import annotations

import dataclasses
import functools
import getpass
import math
from collections.abc import Callable
from pathlib import Path

import click

from streamcodec.errors import ConfigError
from streamcodec.files import NamedPath
from streamcodec.live.adaptive import DelayBounds
from streamcodec.wire.redundancy import MAX_COPY_DISTANCE, USUAL_COPY_DISTANCE

from ..audio.blocks import Sink, Source
from ..audio.pick import (
    DEFAULT_RATE,
    SINK_FORMS,
    SOURCE_FORMS,
    ahead_for,
    check_sink,
    pick_sink,
    pick_source,
)
from ..clock import Clock
from ..live.codec import Codec
from ..live.encryption import RoomKey
from ..live.token_name import name_in
from .grouping import grouped
from .joining_options import ca_option, passphrase_option, token_option
from .live_values import MAX_PLAYOUT_MS, CopyDistanceType, PlayoutType, SampleRateType

OUTPUT_FILE = click.Path(dir_okay=False, path_type=Path)


def _finite(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is no number of seconds")
    return value


@dataclasses.dataclass(frozen=True)
class SessionOptions:
    """Which room of which relay, for how long (None: without a limit), what is written (over files
    that are there, too, where `force` says so), and what is shown.
    """

    url: str
    ca: Path | None
    room: str
    name: str | None
    token: str
    passphrase_file: Path | None
    duration_s: float | None
    trace: Path | None
    force: bool
    as_json: bool
    quiet: bool
    screen: bool
    verbose: bool

    def key(self) -> RoomKey | None:
        """Of the room. Raises ConfigError."""
        file = self.passphrase_file
        return None if file is None else RoomKey.of_file(file, self.room)

    @property
    def writes(self) -> list[NamedPath]:
        return [("--trace", self.trace), ("--json", "-" if self.as_json else None)]

    @property
    def shown_name(self) -> str:
        """How others see the user: as the token says, where it does."""
        if name := name_in(self.token):
            return name
        if self.name is not None:
            return self.name
        try:
            return getpass.getuser()
        except (KeyError, OSError):  # a container whose user has no entry in the system's list
            return "somebody"


session_options = grouped(
    "session",
    SessionOptions,
    click.option("--url", default="ws://127.0.0.1:8765", show_default=True, help="The relay."),
    ca_option,
    click.option("--room", default="lobby", show_default=True),
    click.option("--name", help="How others see you.  [default: the user's name]"),
    token_option,
    passphrase_option,
    click.option(
        "--duration",
        "duration_s",
        type=click.FloatRange(min=0, min_open=True),
        callback=_finite,
        metavar="S",
        help="End after so many seconds.",
    ),
    click.option("--trace", type=OUTPUT_FILE, metavar="FILE", help="Times of each packet, JSONL."),
    click.option("--force", is_flag=True, help="Write files anew that are there already."),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="One JSON object a second on stdout, and a summary.",
    ),
    click.option("--quiet", is_flag=True, help="No status line and no summary."),
    click.option(
        "--screen/--no-screen",
        default=True,
        show_default=True,
        help="In a terminal: who is there, meters, keys; else a line a second.",
    ),
    click.option(
        "--verbose", is_flag=True, help="Show at the end what sound libraries wrote meanwhile."
    ),
)


@dataclasses.dataclass(frozen=True)
class DeviceOptions:
    """The sound device; sample rate and channels of devices, raw PCM and files that are written.
    None: their defaults (see pick_source and pick_sink).
    """

    device: str | None
    rate: int | None
    channels: int | None


device_options = grouped(
    "device",
    DeviceOptions,
    click.option(
        "--device",
        help="Name (or part of it) or index of the sound device; see `streamcodec devices`.",
    ),
    click.option(
        "--rate",
        type=SampleRateType(),
        metavar="HZ",
        help="Of raw PCM (16000), files written (the codec's) or a device (its own).",
    ),
    click.option(
        "--channels",
        type=click.IntRange(1, 2),
        help="Of a device, raw PCM or a file written.  [default: 1]",
    ),
)


@dataclasses.dataclass(frozen=True)
class SourceOptions:
    """What is sent: one of SOURCE_FORMS."""

    source: str
    mono: bool

    @property
    def reads(self) -> list[NamedPath]:
        return [("--source", None if self.source in ("mic", "tone") else self.source)]

    def check(self, device: DeviceOptions) -> None:
        """Where --rate and --channels are of the source alone. Raises click.UsageError for a file,
        which has its own: they would be ignored.
        """
        if self.source in ("mic", "tone", "-"):
            return
        for name, value, instead in (
            ("--rate", device.rate, "a file is sent at its own, whatever that is"),
            ("--channels", device.channels, "a file has its own, which --mono mixes into one"),
        ):
            if value is not None:
                raise click.UsageError(
                    f"{name} {value} is for --source mic, tone and -, not for {self.source}: "
                    f"{instead}"
                )

    def open(self, clock: Clock, device: DeviceOptions, notify: Callable[[str], None]) -> Source:
        """notify: is told what happens to a sound device. Raises AudioError."""
        return pick_source(
            self.source,
            clock,
            device=device.device,
            rate=device.rate,
            channels=device.channels,
            mono=self.mono,
            warn=functools.partial(click.echo, err=True),
            notify=notify,
        )

    def sent_channels(self, opened: Source, device: DeviceOptions) -> int:
        """How many channels of the opened source the stream carries."""
        if self.mono:
            return 1
        if self.source == "mic":
            # A microphone that knows only stereo still carries one voice, unless two channels were
            # asked for.
            return device.channels or 1
        return opened.channels


source_options = grouped(
    "source",
    SourceOptions,
    click.option("--source", default="mic", show_default=True, help=f"{SOURCE_FORMS}."),
    click.option(
        "--mono",
        is_flag=True,
        help="Mix all channels of the source into one; otherwise both are sent.",
    ),
)


@dataclasses.dataclass(frozen=True)
class SinkOptions:
    """Where the sound goes (one of SINK_FORMS), how late, and whether the session ends when all
    talkers have left.
    """

    sink: str
    playout_ms: float | DelayBounds
    exit_when_done: bool

    def check_stdout(self, session: SessionOptions) -> None:
        """Raises ConfigError where sound and JSON both want standard output."""
        if self.sink == "-" and session.as_json:
            raise ConfigError("--sink - and --json both want standard output; give one of them")

    @property
    def writes(self) -> list[NamedPath]:
        return [("--sink", None if self.sink in ("speaker", "null") else self.sink)]

    def check(self, device: DeviceOptions) -> None:
        """Before a model is loaded. Raises AudioError for a sink that cannot be opened."""
        check_sink(self.sink, device=device.device, rate=device.rate)

    def open(
        self,
        clock: Clock,
        device: DeviceOptions,
        codec: Codec,
        notify: Callable[[str], None],
    ) -> Sink:
        """A file gets the codec's rate where no other is asked for. notify: is told what happens to
        a sound device. Raises AudioError.
        """
        rate = self.rate(device)
        return pick_sink(
            self.sink,
            clock,
            device=device.device,
            rate=codec.sample_rate if rate is None and self.sink != "speaker" else rate,
            channels=device.channels,
            ahead_ms=ahead_for(codec.slowest_step_ms),
            notify=notify,
        )

    def rate(self, device: DeviceOptions) -> int | None:
        """Hz; None where it is not known before the codec is."""
        return DEFAULT_RATE if self.sink == "-" and device.rate is None else device.rate


sink_options = grouped(
    "sink",
    SinkOptions,
    click.option("--sink", default="speaker", show_default=True, help=f"{SINK_FORMS}."),
    click.option(
        "--playout-ms",
        type=PlayoutType(),
        default="adaptive",
        show_default=True,
        help="Delay that absorbs the network's jitter: as little as it allows within bounds "
        f"(adaptive is 10..400), or fixed (0 to {MAX_PLAYOUT_MS}).",
    ),
    click.option(
        "--exit-when-done",
        is_flag=True,
        help="End when there were talkers and all have left (and the source, if any, has ended).",
    ),
)


@dataclasses.dataclass(frozen=True)
class TransmissionOptions:
    """What is sent beside, or instead of, a payload for each packet of sound."""

    dtx: bool
    redundancy: int | None


transmission_options = grouped(
    "transmission",
    TransmissionOptions,
    click.option(
        "--dtx",
        is_flag=True,
        help="While nobody speaks send only a description of the background, every 400 ms. "
        "Not for music.",
    ),
    click.option(
        "--redundancy",
        type=CopyDistanceType(),
        default="auto",
        show_default=True,
        metavar="auto|N",
        help="With each packet send a coarser copy of the one N packets before it, up to "
        f"{MAX_COPY_DISTANCE}, which is heard where that is lost (auto: "
        f"{USUAL_COPY_DISTANCE}, while listeners lose packets; 0: none).",
    ),
)

take_copies_option = click.option(
    "--take-copies",
    type=click.IntRange(0, MAX_COPY_DISTANCE),
    default=MAX_COPY_DISTANCE,
    show_default=True,
    metavar="N",
    help="Take copies of packets that lie at most so many back (a talker's --redundancy): where "
    "packets are lost, the delay grows by as much. 0: none.",
)


@dataclasses.dataclass(frozen=True)
class SimulationOptions:
    """A simulated network: loss in percent, jitter in ms, clock drift in ppm."""

    sim_loss: float
    sim_jitter: float
    sim_drift: float


simulation_options = grouped(
    "simulation",
    SimulationOptions,
    click.option(
        "--sim-loss",
        default=0.0,
        metavar="PERCENT",
        help="Lose so many packets, in bursts of three.",
    ),
    click.option(
        "--sim-jitter",
        default=0.0,
        metavar="MS",
        help="Delay packets by a normal jitter of this standard deviation.",
    ),
    click.option(
        "--sim-drift",
        default=0.0,
        metavar="PPM",
        help="As if the talker's clock ran so much slower.",
    ),
)


@dataclasses.dataclass(frozen=True)
class DuplexOptions:
    """What `talk` needs besides, because it has two devices and two traces."""

    output_device: str | None
    listen_trace: Path | None
    push_to_talk: bool

    @property
    def writes(self) -> list[NamedPath]:
        return [("--listen-trace", self.listen_trace)]


duplex_options = grouped(
    "duplex",
    DuplexOptions,
    click.option("--output-device", help="Where it differs from --device."),
    click.option(
        "--listen-trace", type=OUTPUT_FILE, metavar="FILE", help="As --trace, for what is heard."
    ),
    click.option(
        "--ptt", "push_to_talk", is_flag=True, help="Send only while the space bar is held."
    ),
)
