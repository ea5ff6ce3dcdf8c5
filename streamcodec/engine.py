"""How a step of the network runs: NumPy in, NumPy out, state as a value. PyTorch on CPU or CUDA; other engines can stand beside
it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray

from streamcodec_models.vae import DecoderState, EncoderState, VoiceVae

from .bitstream import Latents, Means

Pcm = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class TorchEngine:
    """Channels are the batch of one call: a stereo packet costs one step, not two. Shapes: C channels, T samples, P packets, D
    latent.
    """

    vae: VoiceVae
    levels: int

    def initial_encoder_state(self, channels: int) -> EncoderState:
        return self.vae.initial_encoder_state(channels)

    def initial_decoder_state(self, channels: int) -> DecoderState:
        return self.vae.initial_decoder_state(channels)

    @torch.inference_mode()
    def encode(self, pcm: Pcm, level: int, state: EncoderState) -> tuple[Means, EncoderState]:
        """pcm [C, P * packet] -> means of the posterior, new state; the old one stays valid, so that another level can be tried."""
        x = torch.from_numpy(np.ascontiguousarray(pcm)).to(self._device)
        quality = self._quality(level, len(pcm), pcm.shape[1] // self.vae.config.packet)
        mean, gain_index, after = self.vae.encode(x, quality, state)
        gains = gain_index.to(torch.int32).transpose(0, 1).cpu().numpy()
        return Means(level, gains, mean.transpose(0, 1).cpu().numpy()), after

    @torch.inference_mode()
    def decode(self, latents: Latents, state: DecoderState) -> tuple[Pcm, DecoderState]:
        """Latents of P packets -> pcm [C, P * packet], new state."""
        return self._decode(latents.y, latents.gain_index, latents.level, lost=False, state=state)

    @torch.inference_mode()
    def conceal(self, packets: int, channels: int, level: int, state: DecoderState) -> tuple[Pcm, DecoderState]:
        """What the network plays in place of `packets` that did not come: its own continuation, fading."""
        y = np.zeros((packets, channels, self.vae.config.latent_dim), np.int32)
        return self._decode(y, np.zeros((packets, channels), np.int32), level, lost=True, state=state)

    def _decode(
        self, y: NDArray[np.int32], gains: NDArray[np.int32], level: int, *, lost: bool, state: DecoderState
    ) -> tuple[Pcm, DecoderState]:
        packets, channels = gains.shape
        vectors = torch.from_numpy(y.astype(np.float32)).transpose(0, 1).to(self._device)
        gain_index = torch.from_numpy(gains.astype(np.float32)).transpose(0, 1).to(self._device)
        missing = torch.full((channels, packets), lost, device=self._device)
        out, after = self.vae.decode(vectors, gain_index, self._quality(level, channels, packets), missing, state)
        return out.float().cpu().numpy(), after

    def _quality(self, level: int, channels: int, packets: int) -> torch.Tensor:
        return torch.full((channels, packets), level / (self.levels - 1), device=self._device)

    @property
    def _device(self) -> torch.device:
        return self.vae.noise.device
