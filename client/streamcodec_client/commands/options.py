"""Options that live and file commands share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamcodec.config import default_bitrate_bps
from streamcodec.files import NamedPath, check_paths

from .grouping import grouped

if TYPE_CHECKING:
    from ..live.codec import Band

SETTINGS_FILE = "streamcodec.settings_file"  # in click's context: where --config was read from
LEAST_BITRATE_BPS, MOST_BITRATE_BPS = 100, 1_000_000  # beyond them k was forgotten, or too much


def check_files(inputs: Iterable[NamedPath], outputs: Iterable[NamedPath]) -> None:
    """As check_paths, with the settings file as one more input. Raises ConfigError, OutputError."""
    context = click.get_current_context(silent=True)
    settings = None if context is None else context.meta.get(SETTINGS_FILE)
    check_paths([("--config", settings), *inputs], outputs)


class BitrateType(click.ParamType[float]):
    """6000, 6k, 6kbps, 1.5k -> bit/s."""

    name = "bitrate"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        text = str(value).strip().lower().removesuffix("bps").removesuffix("bit/s").strip()
        factor = 1_000 if text.endswith("k") else 1
        try:
            rate = float(text.removesuffix("k")) * factor
        except ValueError:
            rate = math.nan
        if not math.isfinite(rate):
            self.fail(f"{value!r} is no bit rate: write 6000, 6k or 1.5k", param, ctx)
        if rate <= 0:
            self.fail(f"{value!r} is no bit rate: it must be above 0", param, ctx)
        if rate < LEAST_BITRATE_BPS:
            self.fail(f"{rate:g} bit/s is too little: did you mean {rate:g}k?", param, ctx)
        if rate > MOST_BITRATE_BPS:
            meant = f": did you mean {rate / 1000:g}?" if factor > 1 else ""
            self.fail(f"{rate:.0f} bit/s is too much{meant}", param, ctx)
        return rate


@dataclasses.dataclass(frozen=True)
class CodecOptions:
    """Which weights (a shipped model's name or a folder; None: the default model) run where, and up
    to which frequency.
    """

    model: str | None
    codec_device: str
    engine: str
    band: Band

    @property
    def reads(self) -> list[NamedPath]:
        """The files of a model that has a folder of its own."""
        folder = Path(self.model or "")
        files = sorted(folder.iterdir()) if self.model and folder.is_dir() else []
        return [("--model", path) for path in files]


codec_options = grouped(
    "codec",
    CodecOptions,
    click.option("--model", help="Name of a shipped model, or a folder with one."),
    click.option(
        "--codec-device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
    ),
    click.option(
        "--engine",
        type=click.Choice(["auto", "native", "torch"]),
        default="auto",
        show_default=True,
        help="native: C code on the CPU; torch: PyTorch, on CPU or CUDA; auto: native if built.",
    ),
    click.option(
        "--band",
        type=click.Choice(["auto", "full", "wide"]),
        default="auto",
        show_default=True,
        help="full: up to 20 kHz, for 0.8 kbit/s of the rate; wide: up to 8 kHz; auto: full where "
        "what is sent, or played, has more than 16,000 samples a second, and what is sent 4 kbit/s "
        "a channel or more.",
    ),
)


@dataclasses.dataclass(frozen=True)
class RateOptions:
    """How many bits the encoder spends. At most one of bitrate_bps (a mean) and quality (constant)
    is given.
    """

    bitrate_bps: float | None
    quality: float | None
    capped: bool
    packet_ms: int

    def bitrate_of(self, channels: int) -> float | None:
        """Of a stream; None where a quality is given."""
        if self.bitrate_bps is None and self.quality is None:
            return default_bitrate_bps(channels)
        return self.bitrate_bps


def _rates(
    bitrate_bps: float | None, quality: float | None, capped: bool, packet_ms: int
) -> RateOptions:
    """Raises click.UsageError where the user gave both a rate and a quality."""
    if bitrate_bps is not None and quality is not None:
        raise click.UsageError("give --bitrate or --quality, not both")
    return RateOptions(bitrate_bps, quality, capped, packet_ms)


rate_options = grouped(
    "rate",
    _rates,
    click.option(
        "--bitrate",
        "bitrate_bps",
        type=BitrateType(),
        help="Mean payload rate such as 6k.  [default: 9k; 14k for two channels]",
    ),
    click.option(
        "--quality",
        type=click.FloatRange(0, 1),
        help="Constant quality, 0 to 1, in place of a bit rate.",
    ),
    click.option(
        "--capped",
        is_flag=True,
        help="No packet may exceed its share of --bitrate: for constant links.",
    ),
    click.option(
        "--packet-ms",
        type=click.Choice([20, 40, 60]),
        default=20,
        show_default=True,
        help="Audio a packet.",
    ),
)
