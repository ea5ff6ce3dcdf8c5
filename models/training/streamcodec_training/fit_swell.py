"""How deep the decoder's noise swells, from speech: `python -m streamcodec_training.fit_swell IN.pt
OUT.pt --data DIR`.

Training weighs the swings of the noise's envelope against its spectrum and leaves them some dB too
deep or too shallow, differently at different qualities. Here the depth is moved, by as much as its
quality wants, to where `bench quality --metrics buzz` hears WANTED_DB: how much more the envelope
swings at the rate of packets or of frames, the worse of both. Nothing else changes.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamcodec_models.config import VaeConfig
from streamcodec_models.vae import VoiceVae

from .corpus import audio_files, read_mono
from .fit_noise import coded, least_squares
from .parameters import final_weights

CLIPS, SECONDS = 24, 6
# voices differ: at the low rates those of other speakers come out half a dB higher
WANTED_DB = -0.3
EDGE_HZ, ENVELOPE_RATE = 3_000.0, 1_000  # above it there is little but noise
QUALITIES = (0.15, 0.3, 0.45, 0.8)
LEAST, MOST, HALVINGS = -3.0, 2.0, 7  # of the logit of the depth
RIDGE = 1e-3


@torch.no_grad()
def swings_db(pcm: Tensor, config: VaeConfig) -> Tensor:
    """pcm [B, T] -> power of the envelope's swings at packet and frame rate relative to its mean,
    [B, 2].
    """
    spectrum = torch.fft.rfft(pcm)
    spectrum[:, torch.fft.rfftfreq(pcm.shape[1], 1 / config.sample_rate) < EDGE_HZ] = 0
    block = config.sample_rate // ENVELOPE_RATE
    high = torch.fft.irfft(spectrum, n=pcm.shape[1]).abs()[:, : pcm.shape[1] // block * block]
    envelope = high.view(len(pcm), -1, block).mean(-1)
    seconds = (envelope / envelope.mean(1, keepdim=True)).unfold(
        1, ENVELOPE_RATE, ENVELOPE_RATE // 2
    )
    window = torch.hann_window(ENVELOPE_RATE)
    # 1 Hz a bin
    power = (
        torch.fft.rfft((seconds - seconds.mean(-1, keepdim=True)) * window).abs().square().mean(1)
    )
    rates = (config.sample_rate // config.packet, config.sample_rate // config.hop)
    return 10 * torch.log10(
        torch.stack([power[:, rate - 1 : rate + 2].mean(1) for rate in rates], 1)
    )


@torch.no_grad()
def buzz_db(
    vae: VoiceVae, pcm: Tensor, stream: tuple[Tensor, Tensor, Tensor], shift: float
) -> float:
    """Against pcm [B, T], with all depths' logits moved by `shift`."""
    y, gain_index, quality = stream
    bias = vae.noise_envelope.depth.bias
    before = bias.clone()
    bias.add_(shift)
    heard, _ = vae.decode(
        y,
        gain_index,
        quality,
        torch.zeros_like(quality, dtype=torch.bool),
        vae.initial_decoder_state(len(pcm)),
    )
    bias.copy_(before)
    overlap = vae.config.overlap
    more = swings_db(heard[:, overlap:], vae.config) - swings_db(pcm[:, :-overlap], vae.config)
    return float(more.max(1).values.mean())


def wanted_shift(vae: VoiceVae, pcm: Tensor, quality: float) -> float:
    """By how much the logits must move at one quality."""
    stream = coded(vae, pcm, quality)
    low, high = LEAST, MOST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (
            (low, middle) if buzz_db(vae, pcm, stream, middle) > WANTED_DB else (middle, high)
        )
    return (low + high) / 2


@torch.no_grad()
def shift_in(vae: VoiceVae, pcm: Tensor, shifts: list[float]) -> tuple[Tensor, Tensor]:
    """Weight [1, decoder_dim] and bias [1] of the linear function of hidden frames that tells the
    shift their quality wants.
    """
    frames, wishes = [], []
    for quality in np.linspace(0, 1, 11):
        y, gain_index, q = coded(vae, pcm, float(quality))
        lost = torch.zeros_like(q, dtype=torch.bool)
        hidden, _ = vae.hidden(y, gain_index, q, lost, vae.initial_decoder_state(len(pcm)))
        frames.append(hidden.flatten(0, 1))
        wish = float(np.interp(quality, QUALITIES, shifts))
        wishes.append(torch.full((len(frames[-1]), 1), wish, dtype=torch.float64))
    return least_squares(torch.cat(frames), torch.cat(wishes), RIDGE)


@torch.no_grad()
def fit(vae: VoiceVae, clips: list[NDArray[np.float32]]) -> list[float]:
    """Changes the depth's weights -> the shifts that QUALITIES wanted."""
    pcm = torch.from_numpy(np.stack(clips))
    shifts = [wanted_shift(vae, pcm, quality) for quality in QUALITIES]
    weight, bias = shift_in(vae, pcm, shifts)
    vae.noise_envelope.depth.weight.add_(weight)
    vae.noise_envelope.depth.bias.add_(bias)
    return shifts


@click.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder of speech.",
)
@click.option("--seed", default=0, show_default=True)
def main(source: Path, target: Path, data: Path, seed: int) -> None:
    """Write SOURCE's weights with noise that swells as deep as the original's to TARGET."""
    checkpoint = torch.load(source, map_location="cpu", weights_only=True)
    vae = VoiceVae(VaeConfig.from_dict(checkpoint["model_config"]))
    vae.load_state_dict(final_weights(checkpoint))
    rate = vae.config.sample_rate
    length = SECONDS * rate // vae.config.packet * vae.config.packet
    files = audio_files(data)
    chosen = (
        read_mono(files[i], rate)[:length]
        for i in np.random.default_rng(seed).permutation(len(files))
    )
    clips = list(itertools.islice((clip for clip in chosen if len(clip) == length), CLIPS))
    for quality, shift in zip(QUALITIES, fit(vae.eval(), clips), strict=True):
        click.echo(f"quality {quality:g}: logit of the depth moved by {shift:.2f}")
    torch.save({"model_config": checkpoint["model_config"], "model": vae.state_dict()}, target)


if __name__ == "__main__":
    main()
