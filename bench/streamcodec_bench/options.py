"""Options of bench commands that belong together: a frozen dataclass for each group, and the
decorator that adds the group to a command.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from streamcodec.wire.redundancy import MAX_COPY_DISTANCE, USUAL_COPY_DISTANCE
from streamcodec_client.commands.grouping import grouped

from .formats import FULL_BAND_RATE, SAMPLE_RATE

SPEECH = Path(__file__).parent / "speech" / "librispeech.flac"
FULL_BAND_SPEECH = SPEECH.with_name("vctk.flac")
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

model_option = click.option("--model", help="Name of a shipped model, or a folder with one.")
bitrate_option = click.option(
    "--bitrate", "bitrate_bps", type=float, default=6_000, show_default=True, help="bit/s"
)
clips_option = click.option("--clips", type=click.IntRange(min=1), help="At most this many clips.")
clean_speech_option = click.option(
    "--data", type=FOLDER, required=True, help="Folder of clean speech that was not trained on."
)
seed_option = click.option("--seed", default=0, show_default=True)


@dataclasses.dataclass(frozen=True)
class SessionOptions:
    """A live session over loopback: the recording that is sent, and how."""

    source: Path
    bitrate_bps: float
    packet_ms: int
    playout_ms: str
    model: str | None


session_options = grouped(
    "session",
    SessionOptions,
    click.option("--source", type=FILE, default=FULL_BAND_SPEECH, help="Recording to send."),
    bitrate_option,
    click.option("--packet-ms", type=click.Choice([20, 40, 60]), default=20, show_default=True),
    click.option(
        "--playout-ms", default="adaptive", show_default=True, help="As of `streamcodec listen`."
    ),
    model_option,
)


@dataclasses.dataclass(frozen=True)
class LossOptions:
    """`bench loss`: at which rates, on which traces of lost packets, judged by which metrics."""

    data: Path
    rates: str
    share: float
    burst_ms: float
    metrics: str
    redundancy: int
    clips: int | None
    seed: int
    model: str | None


loss_options = grouped(
    "options",
    LossOptions,
    clean_speech_option,
    click.option("--rates", default="6,12", show_default=True, help="kbit/s, comma-separated."),
    click.option("--share", default=5.0, show_default=True, help="Percent of packets lost."),
    click.option(
        "--burst-ms",
        default=60.0,
        show_default=True,
        help="Mean length of a burst (Gilbert-Elliott).",
    ),
    click.option(
        "--metrics", default="pesq,estoi", show_default=True, help="Comma-separated, or all."
    ),
    click.option(
        "--redundancy",
        type=click.IntRange(0, MAX_COPY_DISTANCE),
        default=USUAL_COPY_DISTANCE,
        show_default=True,
        help="Ours once more, each packet with a copy of the one so many before it; 0: not.",
    ),
    clips_option,
    seed_option,
    model_option,
)


@dataclasses.dataclass(frozen=True)
class QualityOptions:
    """`bench quality`: which codecs at which rates, on which clips, judged by which metrics."""

    data: Path
    also: tuple[Path, ...]
    speakers: Path | None
    sample_rate: int
    stereo: bool
    rates: str
    model: str | None
    codecs: str
    metrics: str
    content: str
    noise: Path | None
    clips: int | None
    jobs: int | None
    out: Path | None


quality_options = grouped(
    "options",
    QualityOptions,
    clean_speech_option,
    click.option(
        "--also",
        type=FOLDER,
        multiple=True,
        help="Folder of another set, say of another language; its subfolders are sets. Repeatable.",
    ),
    click.option(
        "--speakers",
        type=FILE,
        help="CSV with the columns file and speaker.  [default: manifest.csv in or above --data]",
    ),
    click.option(
        "--sample-rate",
        type=click.Choice([SAMPLE_RATE, FULL_BAND_RATE]),
        default=SAMPLE_RATE,
        show_default=True,
        help="Hz at which codecs are compared.",
    ),
    click.option("--stereo", is_flag=True, help="Keep both channels of recordings that have two."),
    click.option(
        "--rates", default="1.5,3,6,9,12,16,24", show_default=True, help="kbit/s, comma-separated."
    ),
    model_option,
    click.option(
        "--codecs", default="streamcodec,opus", show_default=True, help="Comma-separated, or all."
    ),
    click.option(
        "--metrics", default="pesq,visqol,estoi", show_default=True, help="Comma-separated, or all."
    ),
    click.option(
        "--content",
        default="clean",
        show_default=True,
        help="Classes of content made from the clips, comma-separated, or all.",
    ),
    click.option("--noise", type=FOLDER, help="Folder of noise, for noisy speech."),
    click.option(
        "--clips", type=click.IntRange(min=1), help="At most this many clips, of each set."
    ),
    click.option(
        "--jobs", type=click.IntRange(min=1), help="Worker processes.  [default: half of the cores]"
    ),
    click.option(
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        help="Write quality.json, quality.md and quality.png here.",
    ),
)
