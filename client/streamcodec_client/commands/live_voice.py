"""What `talk` and `send` do to the microphone's sound before it is encoded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import click

from ..audio.voice_processing import SUPPRESSION_DB, VoiceSettings, missing
from .grouping import grouped

HEADPHONES = "use headphones: others hear themselves from your loudspeaker"


@dataclasses.dataclass(frozen=True)
class VoiceOptions:
    """gain_control None: as is usual for the command."""

    gain_control: bool | None
    noise_suppression: str

    def settings(
        self, source: str, sample_rate: int, warn: Callable[[str], None], *, usual: bool
    ) -> VoiceSettings | None:
        """For a stream at `sample_rate` from `source`, one of SOURCE_FORMS; None: it stays as it
        is. `usual`: whether a microphone's level is kept where nothing was asked for.

        Raises click.UsageError for what was asked of a source that is not a microphone.
        """
        suppression_db = 0 if self.noise_suppression == "off" else int(self.noise_suppression)
        if source != "mic":
            for name, asked in (
                ("--gain-control", self.gain_control),
                ("--noise-suppression", suppression_db),
            ):
                if asked:
                    raise click.UsageError(f"{name} is for --source mic, not for {source}")
            return None
        gain = usual if self.gain_control is None else self.gain_control
        unasked = self.gain_control is None and not suppression_db
        if gain and unasked and (reason := missing(sample_rate)) is not None:
            warn(f"your microphone's level is left as it is: {reason}")
            return None
        return VoiceSettings(gain, suppression_db) if gain or suppression_db else None


def voice_options(usual: str) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """`usual`: the default of --gain-control, in words."""
    return grouped(
        "voice",
        VoiceOptions,
        click.option(
            "--gain-control/--no-gain-control",
            default=None,
            help="Keep the voice at one level, whatever the microphone's; files and pipes stay as "
            f"they are.  [default: {usual}]",
        ),
        click.option(
            "--noise-suppression",
            type=click.Choice(["off", *map(str, SUPPRESSION_DB)]),
            default="off",
            show_default=True,
            help="Turn noise around a microphone's voice down by so many dB; 6 ms more delay.",
        ),
    )
