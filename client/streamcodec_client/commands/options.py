"""Options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import click

from streamcodec.wire.redundancy import MAX_COPIES

DEFAULT_BITRATE_BPS = 6_000.0


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
        return rate


BITRATE = BitrateType()


def codec_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--model, --codec-device: which weights run where."""
    command = click.option(
        "--codec-device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
    )(command)
    return click.option("--model", help="Name of a shipped model, or a folder with one.")(command)


def rate_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--bitrate or --quality, --capped, --packet-ms: what is spent on the voice."""
    command = click.option(
        "--packet-ms",
        type=click.Choice(["20", "40", "60"]),
        default="20",
        show_default=True,
        help="Audio a packet.",
    )(command)
    command = click.option(
        "--capped",
        is_flag=True,
        help="No packet may exceed its share of --bitrate: for constant links.",
    )(command)
    command = click.option(
        "--quality",
        type=click.FloatRange(0, 1),
        help="Constant quality, 0 to 1, in place of a bit rate.",
    )(command)
    return click.option(
        "--bitrate", type=BITRATE, help="Mean payload rate such as 6k.  [default: 6k]"
    )(command)


def redundancy_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--redundancy: copies of earlier packets."""
    return click.option(
        "--redundancy",
        type=click.IntRange(0, MAX_COPIES),
        default=0,
        show_default=True,
        metavar="N",
        help=f"Offer coarser copies (3 kbit/s) of the N packets before each, up to {MAX_COPIES}: for networks that lose packets. "
        "They are sent while somebody in the room takes them.",
    )(command)


def take_copies_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--take-copies: how many of those that talkers offer."""
    return click.option(
        "--take-copies",
        type=click.IntRange(0, MAX_COPIES),
        default=MAX_COPIES,
        show_default=True,
        metavar="N",
        help="Of the copies of earlier packets that a talker offers (its --redundancy) take so many; 0: none.",
    )(command)


def dtx_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--dtx: what is not spoken is not sent."""
    return click.option(
        "--dtx",
        is_flag=True,
        help="While nobody speaks send only a description of the background, every 400 ms. Not for music.",
    )(command)


def bitrate_or_quality(
    bitrate: float | None, quality: float | None
) -> tuple[float | None, float | None]:
    """The default bit rate where nothing was asked for. Raises click.UsageError where both were."""
    if bitrate is not None and quality is not None:
        raise click.UsageError("give --bitrate or --quality, not both")
    return (
        (DEFAULT_BITRATE_BPS, None) if bitrate is None and quality is None else (bitrate, quality)
    )
