"""The reference engine: PyTorch on CPU or CUDA, the code that training runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from streamcodec_models import weights
from streamcodec_models.vae import DecoderState, EncoderState, VoiceVae

from ..errors import ConfigError
from ..units import Pcm
from .api import DecodeRequest, EncodeRequest, Latents, LoadedModel, Means, ModelShape


@dataclasses.dataclass(frozen=True)
class TorchEngine:
    """Channels are the batch of one call: a stereo packet costs one step, not two."""

    vae: VoiceVae
    slowest_step_ms: ClassVar[float] = 12.0

    @property
    def shape(self) -> ModelShape:
        c = self.vae.config
        return ModelShape(
            c.sample_rate, c.hop, c.overlap, c.frames_per_packet, c.latent_dim, c.quality_levels
        )

    def enter_thread(self) -> None:
        """Packets are small: handing them to more threads costs more than it saves."""
        torch.set_num_threads(1)

    def initial_encoder_state(self, channels: int) -> EncoderState:
        return self.vae.initial_encoder_state(channels)

    def initial_decoder_state(self, channels: int) -> DecoderState:
        return self.vae.initial_decoder_state(channels)

    @torch.inference_mode()
    def encode(self, pcm: Pcm, level: int, state: EncoderState) -> tuple[Means, EncoderState]:
        """As `Engine.encode`."""
        x = torch.from_numpy(np.ascontiguousarray(pcm)).to(self._device)
        quality = self._quality(level, len(pcm), pcm.shape[1] // self.vae.config.packet)
        mean, gain_index, after = self.vae.encode(x, quality, state)
        gains = gain_index.to(torch.int32).transpose(0, 1).cpu().numpy()
        return Means(level, gains, mean.transpose(0, 1).cpu().numpy()), after

    @torch.inference_mode()
    def decode(self, latents: Latents, state: DecoderState) -> tuple[Pcm, DecoderState]:
        """As `Engine.decode`."""
        return self._decode(latents.y, latents.gain_index, latents.level, lost=False, state=state)

    @torch.inference_mode()
    def conceal(
        self, packets: int, channels: int, level: int, state: DecoderState
    ) -> tuple[Pcm, DecoderState]:
        """The network's own continuation, fading."""
        y = np.zeros((packets, channels, self.vae.config.latent_dim), np.int32)
        return self._decode(
            y, np.zeros((packets, channels), np.int32), level, lost=True, state=state
        )

    def encode_many(self, requests: Sequence[EncodeRequest]) -> list[tuple[Means, EncoderState]]:
        """One after the other."""
        return [self.encode(*request) for request in requests]

    def decode_many(self, requests: Sequence[DecodeRequest]) -> list[tuple[Pcm, DecoderState]]:
        """One after the other."""
        return [
            self.conceal(packets, channels, level, state)
            if latents is None
            else self.decode(latents, state)
            for latents, packets, channels, level, state in requests
        ]

    def _decode(
        self,
        y: NDArray[np.int32],
        gains: NDArray[np.int32],
        level: int,
        *,
        lost: bool,
        state: DecoderState,
    ) -> tuple[Pcm, DecoderState]:
        packets, channels = gains.shape
        vectors = torch.from_numpy(y.astype(np.float32)).transpose(0, 1).to(self._device)
        gain_index = torch.from_numpy(gains.astype(np.float32)).transpose(0, 1).to(self._device)
        missing = torch.full((channels, packets), lost, device=self._device)
        quality = self._quality(level, channels, packets)
        out, after = self.vae.decode(vectors, gain_index, quality, missing, state)
        return out.float().cpu().numpy(), after

    def _quality(self, level: int, channels: int, packets: int) -> torch.Tensor:
        share = level / (self.vae.config.quality_levels - 1)
        return torch.full((channels, packets), share, device=self._device)

    @property
    def _device(self) -> torch.device:
        return self.vae.noise.device


def load(folder: Path, device: str) -> LoadedModel:
    """A model folder on `device`: cpu, cuda, or auto for CUDA where there is a GPU.

    Raises ModelError for weights that cannot be read, ConfigError for a device that is not there.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise ConfigError("device cuda: PyTorch finds no GPU here; use cpu or auto")
    chosen = torch.device("cuda" if available and device != "cpu" else "cpu")
    loaded = weights.load(folder)
    return LoadedModel(
        TorchEngine(loaded.vae.to(chosen)), loaded.tables, loaded.level_bitrates_bps, loaded.hash
    )
