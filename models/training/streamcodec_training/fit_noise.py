"""Sets the levels of the decoder's noise branch from speech, in closed form.

What the noise branch should say of a frame is the expected logarithm of the original's magnitude in
each bin, given the decoder's hidden frame: a least-squares fit of the head's rows for noise.
Training leaves those levels too low, because its losses prefer too little noise to noise of another
shape, and it leaves them different in the two frames of a packet, which modulates the noise at
50 Hz.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from streamcodec.errors import AudioError
from streamcodec.tables import GAIN_STEPS_PER_OCTAVE
from streamcodec.units import Pcm
from streamcodec_models.blocks import sine_slopes
from streamcodec_models.config import VaeConfig
from streamcodec_models.vae import VoiceVae

from . import stream
from .corpus import audio_files, first_clips

CLIPS, SECONDS = 110, 5
LEVELS_DB = (-12.0, 6.0)  # by which clips are turned down or up
EDGE_HZ = 2_000.0  # above it the noise branch speaks
SMOOTHED_BINS = 5  # wide enough to level out harmonics, which are not noise
FAINTEST_STEPS = -40  # of gain: fainter packets are left out of the fit
RIDGE = 1e-4


def fit(vae: VoiceVae, data: Path, share: float, seed: int) -> None:
    """Moves the noise levels of `vae` by `share` (0..1) of the way to the fit on clips of the
    folder `data`, drawn with `seed`. Raises AudioError.
    """
    rate, rng = vae.config.sample_rate, np.random.default_rng(seed)
    files = audio_files(data)
    order = [files[i] for i in rng.permutation(len(files))]
    clips = first_clips(
        order, rate, vae.config.packet, SECONDS * rate, CLIPS, "noise levels: reading"
    )
    move_levels(vae, clips, share, rng)


@torch.no_grad()
def move_levels(vae: VoiceVae, clips: list[Pcm], share: float, rng: np.random.Generator) -> None:
    """As `fit`, on clips [T] at levels and qualities that `rng` draws. Raises AudioError where they
    are too faint.
    """
    c = vae.config
    pairs = []
    for clip in tqdm(clips, desc="noise levels: fitting", unit="clip"):
        level = 10 ** (rng.uniform(*LEVELS_DB) / 20)
        whole = clip[: len(clip) // c.packet * c.packet] * np.float32(level)
        pairs.append(_frames_and_levels(vae, torch.from_numpy(whole).clamp(-1, 1), rng.uniform()))
    if not sum(len(levels) for _, levels in pairs):
        raise AudioError("no recording is loud enough for the fit of noise levels")
    weight, bias = least_squares(
        torch.cat([hidden for hidden, _ in pairs]),
        torch.cat([levels for _, levels in pairs]),
        RIDGE,
    )
    above = noisy_bins(c)
    for parameter, wanted in ((vae.head.weight, weight), (vae.head.bias, bias)):
        noise = parameter[2 * c.bins :]
        noise[above] = torch.lerp(noise[above], wanted[above], share)


def noisy_bins(config: VaeConfig) -> Tensor:
    """[bins] bool: those that the noise branch is to fill."""
    return torch.arange(config.bins) * config.sample_rate / config.frame >= EDGE_HZ


def least_squares(hidden: Tensor, wanted: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Inputs [F, decoder_dim] and targets [F, N] -> weight [N, decoder_dim] and bias [N] of least
    squared error, with `ridge` times the mean energy of an input of 1 as regularisation.
    """
    inputs = F.pad(hidden.double(), (0, 1), value=1.0)
    gram = inputs.T @ inputs + ridge * len(inputs) * torch.eye(inputs.shape[1], dtype=torch.float64)
    solution = torch.linalg.solve(gram, inputs.T @ wanted.double()).float()
    return solution[:-1].T, solution[-1]


def _frames_and_levels(vae: VoiceVae, pcm: Tensor, quality: float) -> tuple[Tensor, Tensor]:
    """pcm [T], T a multiple of the packet -> hidden frames [F, decoder_dim], and for each the
    logarithm of the magnitude that noise should have there, [F, bins].
    """
    c = vae.config
    hidden, held = stream.hidden_frames(vae, stream.encode(vae, pcm[None], quality))
    steps = held[0].repeat_interleave(c.frames_per_packet)
    window = sine_slopes(c.frame, c.overlap)
    frames = F.pad(pcm, (c.overlap, 0)).unfold(0, c.frame, c.hop)
    frames = frames / torch.exp2(steps / GAIN_STEPS_PER_OCTAVE)[:, None]
    power = torch.fft.rfft(frames * window).abs().square() / window.square().sum()
    smooth = F.avg_pool1d(
        power[None], SMOOTHED_BINS, 1, SMOOTHED_BINS // 2, count_include_pad=False
    )[0]
    # A table of unit variance in each part, through an inverse FFT, is noise of variance 2 / frame.
    levels = 0.5 * torch.log(smooth + 1e-6) + 0.5 * math.log(c.frame / 2)
    heard = steps > FAINTEST_STEPS
    return hidden[0][heard], levels[heard]
