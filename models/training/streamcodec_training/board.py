"""What a run shows meanwhile: curves and sound samples for TensorBoard, and a progress bar."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from streamcodec_models.vae import VoiceVae

from . import stream
from .corpus import read_mono

SAMPLE_QUALITIES = (0.1, 0.4, 0.8)
SAMPLE_S = 6


class Board:
    """The open files and the bar of one run, on rank 0 only."""

    def __init__(self, out: Path, sample: Path | None) -> None:
        """Events go to out/events. `sample` is a recording to decode at each checkpoint."""
        self.sample = sample
        self.writer = SummaryWriter(str(out / "events"))
        self.bar = tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {postfix}", mininterval=5)

    def show(
        self, step: int, figures: dict[str, Tensor], speed: float, done: float, left_s: float
    ) -> None:
        """Figures of a step, its `speed` in audio seconds a second, the share of the run that is
        done and the seconds that are left.
        """
        values = {name: value.item() for name, value in figures.items()}
        for name, value in [*values.items(), ("audio seconds per second", speed)]:
            self.writer.add_scalar(name, value, step)
        self.bar.update(done * 100 - self.bar.n)
        self.bar.set_postfix_str(
            f"step {step}, {left_s // 60:.0f} min left, L {values['lagrangian']:.3f}, "
            f"D {values['distortion']:.3f}, {values['kbit/s']:.2f} kbit/s, {speed:.0f} s/s"
        )

    def play(self, vae: VoiceVae, step: int) -> None:
        """Adds the sample, coded as the bitstream would code it, at SAMPLE_QUALITIES."""
        if self.sample is None:
            return
        c = vae.config
        pcm = read_mono(self.sample, c.sample_rate)[: SAMPLE_S * c.sample_rate]
        pcm = pcm[: len(pcm) // c.packet * c.packet]
        wave = torch.from_numpy(pcm).to(vae.noise.device)[None]
        for quality in SAMPLE_QUALITIES:
            heard = stream.decode(vae, stream.encode(vae, wave, quality))[0]
            name = f"quality {quality}"
            self.writer.add_audio(name, heard.clamp(-1, 1).cpu(), step, c.sample_rate)

    def close(self) -> None:
        self.bar.close()
        self.writer.close()
