"""The reference engine: PyTorch on CPU or CUDA, the code that training runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, ClassVar

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
    """Channels, and streams that share a step, are the batch of one call."""

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

    @torch.inference_mode()
    def encode_many(self, requests: Sequence[EncodeRequest]) -> list[tuple[Means, EncoderState]]:
        """In one step for all streams, where their numbers of packets are the same. A stream's
        results may differ from those alone in their last bits.
        """
        if len(requests) == 1 or len({r.pcm.shape[1] for r in requests}) > 1:
            return [self.encode(*request) for request in requests]
        rows = [len(r.pcm) for r in requests]
        x = torch.from_numpy(np.concatenate([r.pcm for r in requests])).to(self._device)
        packets = x.shape[1] // self.vae.config.packet
        quality = torch.cat([self._quality(r.level, len(r.pcm), packets) for r in requests])
        state = _joined([r.state for r in requests])
        mean, gain_index, after = self.vae.encode(x, quality, state)
        means = mean.transpose(0, 1).cpu().numpy()
        gains = gain_index.to(torch.int32).transpose(0, 1).cpu().numpy()
        ends = list(accumulate(rows, initial=0))
        return [
            (Means(r.level, gains[:, a:b], means[:, a:b]), state)
            for r, (a, b), state in zip(requests, pairwise(ends), _split(after, rows), strict=True)
        ]

    @torch.inference_mode()
    def decode_many(self, requests: Sequence[DecodeRequest]) -> list[tuple[Pcm, DecoderState]]:
        """In one step for all streams, where their numbers of packets are the same. A stream's
        results may differ from those alone in their last bits.
        """
        if len(requests) == 1 or len({r.packets for r in requests}) > 1:
            return [self._decode_one(request) for request in requests]
        rows, packets = [r.channels for r in requests], requests[0].packets
        ends = list(accumulate(rows, initial=0))
        y = np.zeros((ends[-1], packets, self.vae.config.latent_dim), np.float32)
        gains = np.zeros((ends[-1], packets), np.float32)
        lost = np.zeros((ends[-1], packets), bool)
        for r, (a, b) in zip(requests, pairwise(ends), strict=True):
            lost[a:b] = r.latents is None
            if r.latents is not None:
                y[a:b] = r.latents.y.swapaxes(0, 1)
                gains[a:b] = r.latents.gain_index.T
        inputs = [torch.from_numpy(array).to(self._device) for array in (y, gains, lost)]
        quality = torch.cat([self._quality(r.level, r.channels, packets) for r in requests])
        state = _joined([r.state for r in requests])
        out, after = self.vae.decode(inputs[0], inputs[1], quality, inputs[2], state)
        pcm = out.float().cpu().numpy()
        return [
            (pcm[a:b], state)
            for (a, b), state in zip(pairwise(ends), _split(after, rows), strict=True)
        ]

    def _decode_one(self, request: DecodeRequest) -> tuple[Pcm, DecoderState]:
        latents, packets, channels, level, state = request
        if latents is None:
            return self.conceal(packets, channels, level, state)
        return self.decode(latents, state)

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


def _joined(states: Sequence[Any]) -> Any:
    """EncoderStates or DecoderStates, which are tuples of tensors [B, ...] and of such tuples ->
    one, the streams' rows below each other.
    """
    joined = [
        torch.cat(parts) if isinstance(parts[0], torch.Tensor) else _joined(parts)
        for parts in zip(*states, strict=True)
    ]
    return _like(states[0], joined)


def _split(state: Any, rows: Sequence[int]) -> list[Any]:
    """The way back: so many rows for each stream, in memory of their own."""
    parts = [
        [piece.clone() for piece in torch.split(part, list(rows))]
        if isinstance(part, torch.Tensor)
        else _split(part, rows)
        for part in state
    ]
    return [_like(state, [part[n] for part in parts]) for n in range(len(rows))]


def _like(example: Any, parts: Sequence[Any]) -> Any:
    """The same kind of tuple; those with names take their parts one by one."""
    kind = type(example)
    return kind(*parts) if hasattr(example, "_fields") else kind(parts)


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
