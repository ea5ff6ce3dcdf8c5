"""Values of options of `streamcodec send`, `listen` and `talk`: how they are written, and what was
meant where they are not.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

import click

from streamcodec.errors import ConfigError
from streamcodec.live.adaptive import DEFAULT_BOUNDS, DelayBounds
from streamcodec.wire.redundancy import MAX_COPY_DISTANCE

MAX_PLAYOUT_MS = 280  # FixedPlayout's limit: 400 ms less two packets of 60 ms
LEAST_RATE, MOST_RATE = 8_000, 192_000  # Hz
USUAL_RATES = (
    *(8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    *(88_200, 96_000, 176_400, 192_000),
)


class CopyDistanceType(click.ParamType[int | None]):
    """How many packets back a copy lies: 0 to MAX_COPY_DISTANCE; auto -> None."""

    name = "distance"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        if value in (None, "auto"):
            return None
        try:
            int(str(value))
        except ValueError:
            self.fail(f"{value!r} is neither auto nor a number of packets", param, ctx)
        return click.IntRange(0, MAX_COPY_DISTANCE).convert(value, param, ctx)


class PlayoutType(click.ParamType[float | DelayBounds]):
    """Milliseconds: 60 -> a fixed delay; adaptive or 20..400 -> bounds of an adaptive delay."""

    name = "playout"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | DelayBounds:
        if isinstance(value, DelayBounds):
            return value
        if value == "adaptive":
            return DEFAULT_BOUNDS
        text = str(value)
        low, dots, high = text.partition("..")
        if not dots:
            try:
                float(text)
            except ValueError:
                self.fail(f"{value!r} is no delay: {self._meant(text)}", param, ctx)
            return click.FloatRange(0, MAX_PLAYOUT_MS).convert(value, param, ctx)
        try:
            bounds = float(low), float(high)
        except ValueError:
            self.fail(f"{value!r} is no range: write 20..400", param, ctx)
        try:
            return DelayBounds(*bounds)
        except ConfigError as error:
            self.fail(str(error), param, ctx)

    @staticmethod
    def _meant(text: str) -> str:
        """20-400 -> did you mean 20..400?"""
        if bounds := re.fullmatch(r"(\d+(?:\.\d+)?)\s*[^\d.\s]+\s*(\d+(?:\.\d+)?)", text):
            return f"did you mean {bounds[1]}..{bounds[2]}?"
        if number := re.fullmatch(r"(\d+(?:\.\d+)?)\s*ms", text):
            return f"did you mean {number[1]}?"
        if difflib.get_close_matches(text, ["adaptive"]):
            return "did you mean adaptive?"
        return "write 60, 20..400 or adaptive"


class SampleRateType(click.ParamType[int]):
    """Hz, within what sound devices do."""

    name = "hz"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(k?)(?:hz)?", str(value).strip().lower())
        allowed = f"write {LEAST_RATE} to {MOST_RATE} (Hz)"
        if number is not None:
            hz = float(number[1])
            if not number[2] and hz.is_integer() and LEAST_RATE <= hz <= MOST_RATE:
                return int(hz)
            hz *= 1000 if hz < 1000 else 1
            nearest = min(USUAL_RATES, key=lambda rate: abs(rate - hz))
            if abs(nearest - hz) < nearest / 100:  # 44 is 44100, and 11 is 11025
                allowed = f"did you mean {nearest}?"
        has_bitrate = ctx is not None and any("--bitrate" in p.opts for p in ctx.command.params)
        if number is not None and hz < LEAST_RATE and has_bitrate:
            allowed += "; a bit rate is --bitrate, such as 6k"
        raise click.BadParameter(f"{value!r} is no sample rate: {allowed}", ctx, param)
