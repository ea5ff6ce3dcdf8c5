"""Sets how deep the decoder's noise swells with the voice (decision 0014), from speech.

Training weighs the modulation of the noise against its spectrum and leaves it some dB too deep or
too shallow, differently at different qualities. Here the depth is moved, by as much as each quality
needs, to where the metric `buzz` (`streamcodec bench quality --metrics buzz`) is WANTED_DB: how
much more than the original's the envelope is modulated at the packet rate or at the frame rate,
whichever is worse. Nothing else changes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from streamcodec.errors import AudioError
from streamcodec.units import Pcm
from streamcodec_models.config import VaeConfig
from streamcodec_models.vae import VoiceVae

from . import stream
from .corpus import audio_files, first_clips
from .fit_noise import least_squares
from .stream import Stream

CLIPS, SECONDS = 24, 6
# Below 0, because speakers differ: at low rates other speakers than these come out 0.5 dB higher.
WANTED_DB = -0.3
EDGE_HZ = 3_000.0  # above it there is little but noise
ENVELOPE_RATE = 1_000
QUALITIES = (0.15, 0.3, 0.45, 0.8)
LEAST, MOST, HALVINGS = -3.0, 2.0, 7  # of the logit of the depth
RIDGE = 1e-3


def fit(vae: VoiceVae, data: Path, seed: int) -> list[float]:
    """Changes the weights of `vae` that say the depth, by clips of the folder `data` drawn with
    `seed` -> by how much the logit moved at each of QUALITIES. Raises AudioError.
    """
    rate = vae.config.sample_rate
    length = SECONDS * rate // vae.config.packet * vae.config.packet
    files = audio_files(data)
    order = np.random.default_rng(seed).permutation(len(files))
    clips = first_clips(
        [files[i] for i in order], rate, length, length, CLIPS, "depth of swells: reading"
    )
    if not clips:
        raise AudioError(
            f"no recording below {data} has {SECONDS} s from where sound begins, which the fit of "
            "swells needs; --no-fit-swell leaves it out"
        )
    return move_depth(vae, clips)


@torch.no_grad()
def move_depth(vae: VoiceVae, clips: list[Pcm]) -> list[float]:
    """As `fit`, on clips [T] of equal length, a multiple of the packet."""
    pcm = torch.from_numpy(np.stack(clips))
    qualities = tqdm(QUALITIES, desc="depth of swells: fitting", unit="quality")
    shifts = [wanted_shift(vae, pcm, quality) for quality in qualities]
    weight, bias = _shift_from_hidden(vae, pcm, shifts)
    vae.noise_envelope.depth.weight.add_(weight)
    vae.noise_envelope.depth.bias.add_(bias)
    return shifts


@torch.no_grad()
def modulation_db(pcm: Tensor, config: VaeConfig) -> Tensor:
    """pcm [B, T] -> power of the modulation of the envelope above EDGE_HZ, at the packet rate and
    at the frame rate, relative to its mean, [B, 2].
    """
    spectrum = torch.fft.rfft(pcm)
    spectrum[:, torch.fft.rfftfreq(pcm.shape[1], 1 / config.sample_rate) < EDGE_HZ] = 0
    block = config.sample_rate // ENVELOPE_RATE
    high = torch.fft.irfft(spectrum, n=pcm.shape[1]).abs()[:, : pcm.shape[1] // block * block]
    envelope = high.view(len(pcm), -1, block).mean(-1)
    envelope = envelope / envelope.mean(1, keepdim=True)
    seconds = envelope.unfold(1, ENVELOPE_RATE, ENVELOPE_RATE // 2)  # so that a bin is 1 Hz
    swings = (seconds - seconds.mean(-1, keepdim=True)) * torch.hann_window(ENVELOPE_RATE)
    power = torch.fft.rfft(swings).abs().square().mean(1)
    rates = (config.sample_rate // config.packet, config.sample_rate // config.hop)
    near = [power[:, rate - 1 : rate + 2].mean(1) for rate in rates]
    return 10 * torch.log10(torch.stack(near, 1))


@torch.no_grad()
def buzz_db(vae: VoiceVae, pcm: Tensor, coded: Stream, shift: float) -> float:
    """Modulation of `coded`, decoded with the logits of all depths moved by `shift`, above that of
    the original pcm [B, T]. The weights are left as they were.
    """
    bias = vae.noise_envelope.depth.bias
    before = bias.clone()
    bias.add_(shift)
    heard = stream.decode(vae, coded)
    bias.copy_(before)
    overlap, config = vae.config.overlap, vae.config
    more = modulation_db(heard[:, overlap:], config) - modulation_db(pcm[:, :-overlap], config)
    return float(more.max(1).values.mean())


def wanted_shift(vae: VoiceVae, pcm: Tensor, quality: float) -> float:
    """By how much the logits must move at one quality, found by bisection."""
    coded = stream.encode(vae, pcm, quality)
    low, high = LEAST, MOST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if buzz_db(vae, pcm, coded, middle) > WANTED_DB:
            high = middle
        else:
            low = middle
    return (low + high) / 2


def _shift_from_hidden(vae: VoiceVae, pcm: Tensor, shifts: list[float]) -> tuple[Tensor, Tensor]:
    """The shift as a linear function of hidden frames, which know the quality: weight
    [1, decoder_dim] and bias [1].
    """
    frames, wanted = [], []
    for quality in np.linspace(0, QUALITIES[-1], 11):
        hidden, _ = stream.hidden_frames(vae, stream.encode(vae, pcm, float(quality)))
        frames.append(hidden.flatten(0, 1))
        shift = float(np.interp(quality, QUALITIES, shifts))
        wanted.append(torch.full((len(frames[-1]), 1), shift, dtype=torch.float64))
    return least_squares(torch.cat(frames), torch.cat(wanted), RIDGE)
