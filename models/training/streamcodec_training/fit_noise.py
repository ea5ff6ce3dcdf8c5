"""Levels of the decoder's noise from speech: `python -m streamcodec_training.fit_noise IN.pt OUT.pt
--data DIR --share 0.6`.

What a noise branch should say of a frame is the expected logarithm of the original's magnitude in
each bin, given the decoder's hidden frame: a least-squares fit, in closed form, of the head's rows
for noise. Training by its losses leaves those levels too low (they would rather hear too little
noise than the wrong one) and different in the two frames of a packet, which swings at 50 Hz. With
`--share` the rows move so far from where they are to the fit.
"""

from __future__ import annotations

import math
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from streamcodec.tables import GAIN_STEPS_PER_OCTAVE
from streamcodec_models.blocks import sine_slopes
from streamcodec_models.config import VaeConfig
from streamcodec_models.vae import VoiceVae

from .corpus import audio_files, read_mono
from .parameters import final_weights
from .revive_noise import noisy_bins

CLIPS, SECONDS = 110, 5
LEVELS_DB = (-12.0, 6.0)  # by which clips are turned down or up
SMOOTHED_BINS = 5  # harmonics are not the noise branch's business
FAINTEST_STEPS = -40  # of gain: below it there is nothing to learn
RIDGE = 1e-4


@torch.no_grad()
def coded(vae: VoiceVae, pcm: Tensor, quality: float) -> tuple[Tensor, Tensor, Tensor]:
    """pcm [B, T], T a multiple of the packet -> latents [B, P, D], gain index and quality [B, P],
    as a decoder gets them.
    """
    q = torch.full((len(pcm), pcm.shape[1] // vae.config.packet), quality)
    mean, gain_index, _ = vae.encode(pcm, q, vae.initial_encoder_state(len(pcm)))
    return vae.prior.quantise(mean, q, vae.prior.choose(torch.round(mean), q)), gain_index, q


@torch.no_grad()
def frames_and_levels(vae: VoiceVae, pcm: Tensor, quality: float) -> tuple[Tensor, Tensor]:
    """pcm [T], T a multiple of the packet -> hidden frames [F, decoder_dim], and for each the
    logarithm of the magnitude that noise should have there, [F, bins].
    """
    c = vae.config
    y, gain_index, q = coded(vae, pcm[None], quality)
    hidden, held = vae.hidden(
        y, gain_index, q, torch.zeros_like(q, dtype=torch.bool), vae.initial_decoder_state(1)
    )
    steps = held[0].repeat_interleave(c.frames_per_packet)
    window = sine_slopes(c.frame, c.overlap)
    frames = (
        F.pad(pcm, (c.overlap, 0)).unfold(0, c.frame, c.hop)
        / torch.exp2(steps / GAIN_STEPS_PER_OCTAVE)[:, None]
    )
    power = torch.fft.rfft(frames * window).abs().square() / window.square().sum()
    power = F.avg_pool1d(
        power[None], SMOOTHED_BINS, 1, SMOOTHED_BINS // 2, count_include_pad=False
    )[0]
    # A table of unit variance in each part, through an inverse FFT, is noise of variance 2 / frame.
    levels = 0.5 * torch.log(power + 1e-6) + 0.5 * math.log(c.frame / 2)
    heard = steps > FAINTEST_STEPS
    return hidden[0][heard], levels[heard]


def least_squares(hidden: Tensor, wanted: Tensor, ridge: float = RIDGE) -> tuple[Tensor, Tensor]:
    """[F, decoder_dim] and [F, N] -> weight [N, decoder_dim] and bias [N] of least squared
    error.
    """
    inputs = F.pad(hidden.double(), (0, 1), value=1.0)
    gram = inputs.T @ inputs + ridge * len(inputs) * torch.eye(inputs.shape[1], dtype=torch.float64)
    solution = torch.linalg.solve(gram, inputs.T @ wanted.double()).float()
    return solution[:-1].T, solution[-1]


def fitted(
    vae: VoiceVae, clips: list[NDArray[np.float32]], share: float, rng: np.random.Generator
) -> dict[str, Tensor]:
    """The weights of `vae` with its noise moved so far towards the fit, where noise belongs."""
    c = vae.config
    pairs = []
    for clip in clips:
        level = 10 ** (rng.uniform(*LEVELS_DB) / 20)
        pcm = torch.from_numpy(clip[: len(clip) // c.packet * c.packet] * np.float32(level)).clamp(
            -1, 1
        )
        pairs.append(frames_and_levels(vae, pcm, rng.uniform()))
    weight, bias = least_squares(torch.cat([h for h, _ in pairs]), torch.cat([t for _, t in pairs]))
    model = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    above = noisy_bins(c)
    for name, wanted in (("head.weight", weight), ("head.bias", bias)):
        noise = model[name][2 * c.bins :]
        noise[above] = torch.lerp(noise[above], wanted[above], share)
    return model


@click.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder of speech.",
)
@click.option("--share", type=click.FloatRange(0, 1), default=0.6, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(source: Path, target: Path, data: Path, share: float, seed: int) -> None:
    """Write SOURCE's weights with noise of fitted levels to TARGET."""
    checkpoint = torch.load(source, map_location="cpu", weights_only=True)
    vae = VoiceVae(VaeConfig.from_dict(checkpoint["model_config"]))
    vae.load_state_dict(final_weights(checkpoint))
    rng = np.random.default_rng(seed)
    files = audio_files(data)
    chosen = rng.permutation(len(files))[:CLIPS]
    clips = [
        read_mono(files[i], vae.config.sample_rate)[: SECONDS * vae.config.sample_rate]
        for i in chosen
    ]
    torch.save(
        {
            "model_config": checkpoint["model_config"],
            "model": fitted(vae.eval(), clips, share, rng),
        },
        target,
    )


if __name__ == "__main__":
    main()
