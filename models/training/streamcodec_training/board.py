"""What a run shows meanwhile: curves and sound samples for TensorBoard, and a progress bar."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from streamcodec.errors import OutputError
from streamcodec.files import cannot_write
from streamcodec.terminal import fitted
from streamcodec.units import Pcm
from streamcodec_models.vae import VoiceVae

from . import stream

SAMPLE_QUALITIES = (0.1, 0.4, 0.8)
SAMPLE_S = 6
BAR = "{percentage:3.0f}%|{bar}| {desc}"  # with its description no wider than 80 columns
LEGEND = """\
The bar shows how much of the run is done, and of the latest batch:
  loss        distortion plus the price of the bits: what training lowers
  distortion  how far the decoded sound is from the original
  kbit/s      mean bit rate, over the qualities that were drawn"""


class Board:
    """The open files and the bar of one run, on rank 0 only."""

    def __init__(self, out: Path, sample: Pcm | None, done: float = 0.0) -> None:
        """Events go to out/events. `sample` [T], at the model's rate and of a packet at least, is
        decoded at each checkpoint. The bar begins at the share `done` of the run. Raises
        OutputError.
        """
        self.sample = sample
        self.events = out / "events"
        self._hook = threading.excepthook
        threading.excepthook = self._thread_failed
        try:
            self.writer: SummaryWriter | None = SummaryWriter(str(self.events))
        except OSError as error:
            threading.excepthook = self._hook
            raise OutputError(cannot_write(self.events, error)) from error
        say(LEGEND)
        self.bar = tqdm(
            total=100, initial=100 * min(1.0, done), bar_format=BAR, mininterval=5, miniters=0
        )

    def show(
        self, step: int, figures: dict[str, Tensor], speed: float, done: float, left_s: float
    ) -> None:
        """Figures of a step, its `speed` in audio seconds a second, the share of the run that is
        done and the seconds that are left.
        """
        values = {name: value.item() for name, value in figures.items()}
        for name, value in [*values.items(), ("audio seconds per second", speed)]:
            self._write(SummaryWriter.add_scalar, name, value, step)
        left = f"{left_s / 60:.0f} min" if left_s < 6_000 else f"{left_s / 3600:.0f} h"
        self.bar.set_description_str(
            f"step {step}, {left} left, loss {values['lagrangian']:.3f}, "
            f"distortion {values['distortion']:.3f}, {values['kbit/s']:.2f} kbit/s",
            refresh=False,
        )
        self.move(done)

    def move(self, done: float) -> None:
        """Moves the bar to the share `done` of the run."""
        self.bar.update(100 * min(1.0, done) - self.bar.n)

    def play(self, vae: VoiceVae, step: int) -> None:
        """Adds the sample, coded as the bitstream would code it, at SAMPLE_QUALITIES."""
        if self.sample is None:
            return
        c = vae.config
        pcm = self.sample[: SAMPLE_S * c.sample_rate]
        pcm = pcm[: len(pcm) // c.packet * c.packet]
        wave = torch.from_numpy(pcm).to(vae.noise.device)[None]
        for quality in SAMPLE_QUALITIES:
            heard = stream.decode(vae, stream.encode(vae, wave, quality))[0].clamp(-1, 1).cpu()
            name = f"quality {quality}"
            self._write(SummaryWriter.add_audio, name, heard, step, c.sample_rate)

    def close(self) -> None:
        self.bar.close()
        self._write(SummaryWriter.close)
        threading.excepthook = self._hook

    def _write(self, method: Callable[..., None], *arguments: object) -> None:
        """Calls a method of the writer. The first failure is warned of; from then on nothing is
        written: curves are not worth the end of a run.
        """
        if self.writer is None:
            return
        try:
            method(self.writer, *arguments)
        except OSError as error:
            self.writer = None
            say(f"warning: {cannot_write(self.events, error)}; training goes on without curves")

    def _thread_failed(self, what: threading.ExceptHookArgs) -> None:
        """On a full disk TensorBoard's thread fails, and then every call of the writer: `_write`
        says so, and a traceback would add nothing.
        """
        if not isinstance(what.exc_value, OSError):
            self._hook(what)


def say(line: str) -> None:
    """Prints beside a progress bar that may be there."""
    tqdm.write(fitted(line, sys.stderr), file=sys.stderr)
