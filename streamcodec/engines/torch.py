"""The reference engine: PyTorch on CPU or CUDA, the code that training runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamcodec_models import waveform, weights
from streamcodec_models.vae import DecoderState, Encoded, EncoderState, VoiceVae

from ..errors import ConfigError
from ..tables import GAIN_STEPS_PER_OCTAVE, STEP_BAND
from ..units import Pcm
from .api import DecodeRequest, EncodeRequest, Latents, LoadedModel, Means, ModelShape

Request = TypeVar("Request", EncodeRequest, DecodeRequest)
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class TorchEngine:
    """Channels, and streams that share a step, are the batch of one call.

    layered: the network of levels with the waveform layer; None where `vae` is theirs, too. Both
    have one shape, so that a stream's state goes from one to the other.
    """

    vae: VoiceVae
    layered: VoiceVae | None = None
    slowest_step_ms: ClassVar[float] = 12.0

    @property
    def shape(self) -> ModelShape:
        return ModelShape.of(self.vae.config)

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
        encoded = self._network(level).encode(x, quality, state)
        return _means(encoded, level, slice(None)), encoded.state

    @torch.inference_mode()
    def residual(
        self, means: Means, latents: Latents, state: DecoderState
    ) -> tuple[NDArray[np.float32], DecoderState]:
        """As `Engine.residual`."""
        y, gains, quality = self._inputs(latents)
        lost = torch.zeros_like(quality, dtype=torch.bool)
        vae = self._network(latents.level)
        sound, held, after = vae.base(y, gains, quality, lost, state)
        gain = torch.exp2(held / GAIN_STEPS_PER_OCTAVE)
        known = vae.waveform.prediction * vae.waveform.base_coefficients(sound, gain)
        return means.coefficients - known.transpose(0, 1).cpu().numpy(), after

    @torch.inference_mode()
    def decode(self, latents: Latents, state: DecoderState) -> tuple[Pcm, DecoderState]:
        """As `Engine.decode`."""
        y, gains, quality = self._inputs(latents)
        lost = torch.zeros_like(quality, dtype=torch.bool)
        waveform = self._waveform([latents], quality)
        vae = self._network(latents.level)
        out, after = vae.decode(y, gains, quality, lost, state, waveform)
        return out.float().cpu().numpy(), after

    @torch.inference_mode()
    def conceal(
        self, packets: int, channels: int, level: int, state: DecoderState
    ) -> tuple[Pcm, DecoderState]:
        """The network's own continuation, fading."""
        y = torch.zeros(channels, packets, self.vae.config.latent_dim, device=self._device)
        gains, quality = y[..., 0], self._quality(level, channels, packets)
        lost = torch.ones_like(gains, dtype=torch.bool)
        out, after = self._network(level).decode(y, gains, quality, lost, state)
        return out.float().cpu().numpy(), after

    @torch.inference_mode()
    def encode_many(self, requests: Sequence[EncodeRequest]) -> list[tuple[Means, EncoderState]]:
        """In one step for all streams, where their numbers of packets are the same. A stream's
        results may differ from those alone in their last bits.
        """
        if len(requests) == 1 or len({r.pcm.shape[1] for r in requests}) > 1:
            return [self.encode(*request) for request in requests]
        if self._networks(requests) > 1:
            return self._one_step_a_network(self.encode_many, requests)
        rows = [len(r.pcm) for r in requests]
        x = torch.from_numpy(np.concatenate([r.pcm for r in requests])).to(self._device)
        packets = x.shape[1] // self.vae.config.packet
        quality = torch.cat([self._quality(r.level, len(r.pcm), packets) for r in requests])
        state = _joined([r.state for r in requests])
        encoded = self._network(requests[0].level).encode(x, quality, state)
        ends = list(accumulate(rows, initial=0))
        return [
            (_means(encoded, r.level, slice(a, b)), state)
            for r, (a, b), state in zip(
                requests, pairwise(ends), _split(encoded.state, rows), strict=True
            )
        ]

    @torch.inference_mode()
    def decode_many(self, requests: Sequence[DecodeRequest]) -> list[tuple[Pcm, DecoderState]]:
        """In one step for all streams, where their numbers of packets are the same. A stream's
        results may differ from those alone in their last bits.
        """
        if len(requests) == 1 or len({r.packets for r in requests}) > 1:
            return [self._decode_one(request) for request in requests]
        if self._networks(requests) > 1:
            return self._one_step_a_network(self.decode_many, requests)
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
        waveform = self._waveform([r.latents for r in requests], quality, rows)
        vae = self._network(requests[0].level)
        out, after = vae.decode(inputs[0], inputs[1], quality, inputs[2], state, waveform)
        pcm = out.float().cpu().numpy()
        return [
            (pcm[a:b], state)
            for (a, b), state in zip(pairwise(ends), _split(after, rows), strict=True)
        ]

    def _network(self, level: int) -> VoiceVae:
        if self.layered is None or level < self.vae.config.base_levels:
            return self.vae
        return self.layered

    def _networks(self, requests: Sequence[Request]) -> int:
        return len({self._network(r.level) for r in requests})

    def _one_step_a_network(
        self, step: Callable[[list[Request]], list[Result]], requests: Sequence[Request]
    ) -> list[Result]:
        """Results in the order of `requests`."""
        results: dict[int, Result] = {}
        for network in {self._network(r.level) for r in requests}:
            chosen = [i for i, r in enumerate(requests) if self._network(r.level) is network]
            results.update(zip(chosen, step([requests[i] for i in chosen]), strict=True))
        return [results[i] for i in range(len(requests))]

    def _decode_one(self, request: DecodeRequest) -> tuple[Pcm, DecoderState]:
        latents, packets, channels, level, state = request
        if latents is None:
            return self.conceal(packets, channels, level, state)
        return self.decode(latents, state)

    def _inputs(self, latents: Latents) -> tuple[Tensor, Tensor, Tensor]:
        """-> y [C, P, D], gain index and quality [C, P]."""
        packets, channels = latents.gain_index.shape
        arrays = (latents.y.astype(np.float32), latents.gain_index.astype(np.float32))
        y, gains = (torch.from_numpy(a).transpose(0, 1).to(self._device) for a in arrays)
        return y, gains, self._quality(latents.level, channels, packets)

    def _waveform(
        self,
        streams: Sequence[Latents | None],
        quality: Tensor,
        rows: Sequence[int] | None = None,
    ) -> waveform.Waveform | None:
        """The layers of streams below each other, of so many rows each; None where there is
        none.
        """
        if not any(s is not None and s.waveform is not None for s in streams):
            return None
        layer = self.vae.waveform
        empty = layer.nothing(*quality.shape)
        values, steps, coded = (t.cpu().numpy().copy() for t in empty[:3])
        ends = list(accumulate(rows or [len(quality)], initial=0))
        for s, (a, b) in zip(streams, pairwise(ends), strict=True):
            if s is None or s.waveform is None:
                continue
            said = s.waveform
            step = np.repeat(said.steps, STEP_BAND, 2)[..., None, : layer.bins]
            values[a:b] = (said.q * step).swapaxes(0, 1)
            steps[a:b, ..., : said.bins] = step.swapaxes(0, 1)[..., : said.bins]
            coded[a:b] = said.coded.T
        arrays = [torch.from_numpy(array).to(self._device) for array in (values, steps, coded)]
        return waveform.Waveform(arrays[0], arrays[1], arrays[2], (quality - 1).clamp_min(0))

    def _quality(self, level: int, channels: int, packets: int) -> torch.Tensor:
        quality = self.vae.config.level_qualities[level]
        return torch.full((channels, packets), quality, device=self._device)

    @property
    def _device(self) -> torch.device:
        return self.vae.noise.device


def _means(encoded: Encoded, level: int, rows: slice) -> Means:
    gains, mean, coefficients = (
        part[rows].transpose(0, 1).cpu().numpy()
        for part in (encoded.gain_index.to(torch.int32), encoded.mean, encoded.coefficients)
    )
    return Means(level, gains, mean, coefficients)


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
    layered = loaded.layered.to(chosen) if loaded.layered is not None else None
    return LoadedModel(
        TorchEngine(loaded.vae.to(chosen), layered),
        loaded.tables,
        loaded.level_bitrates_bps,
        loaded.hash,
    )
