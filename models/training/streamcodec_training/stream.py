"""A stream as a decoder receives it, without bytes: what the fits and the sound samples listen to.

Latents are rounded by error and bits, as the bitstream rounds them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from streamcodec_models.vae import VoiceVae


class Stream(NamedTuple):
    """Integers y [B, P, D], gain index [B, P], and quality [B, P]. Nothing is lost, and there is no
    waveform layer.
    """

    y: Tensor
    gain_index: Tensor
    quality: Tensor

    @property
    def lost(self) -> Tensor:
        return torch.zeros_like(self.quality, dtype=torch.bool)


@torch.no_grad()
def encode(vae: VoiceVae, pcm: Tensor, quality: float) -> Stream:
    """pcm [B, T], T a multiple of the packet."""
    q = pcm.new_full((len(pcm), pcm.shape[1] // vae.config.packet), quality)
    encoded = vae.encode(pcm, q, vae.initial_encoder_state(len(pcm)))
    chosen = vae.prior.choose(torch.round(encoded.mean), q)
    return Stream(vae.prior.quantise(encoded.mean, q, chosen), encoded.gain_index, q)


@torch.no_grad()
def decode(vae: VoiceVae, stream: Stream) -> Tensor:
    """-> [B, T], `overlap` samples late."""
    state = vae.initial_decoder_state(len(stream.y))
    pcm, _ = vae.decode(stream.y, stream.gain_index, stream.quality, stream.lost, state)
    return pcm


@torch.no_grad()
def hidden_frames(vae: VoiceVae, stream: Stream) -> tuple[Tensor, Tensor]:
    """What the decoder's head sees: frames [B, F, decoder_dim], and gain steps [B, P]."""
    state = vae.initial_decoder_state(len(stream.y))
    hidden = vae.hidden(stream.y, stream.gain_index, stream.quality, stream.lost, state)
    return hidden.frames, hidden.gain_index
