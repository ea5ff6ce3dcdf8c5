"""Weights as the native engine reads them (native/src/model.c): a file that is mapped into memory.

A header of 192 bytes, then arrays in the order in which a packet meets them, each begun at a
multiple of 64 bytes. The same again where levels with the waveform layer have a network of their
own.

mixed: int8 weights in blocks (activations are quantised to int16 as they come), float16 elsewhere.
exact: float16 everywhere, as stored. float32: for tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import nn

from streamcodec.errors import ConfigError

from .blocks import BlockStack, CausalBlock
from .catalogue import PACKED_PRECISIONS, packed_file
from .packed_layout import ALIGNMENT, MAGIC, PANEL, SHAPE, VERSION, Array, quantised
from .quality_axis import base_quality, interpolate, layer_condition
from .vae import VoiceVae


def pack(
    vae: VoiceVae,
    model_hash: str,
    folder: Path,
    precision: str = "mixed",
    layered: VoiceVae | None = None,
) -> Path:
    """Write `vae`, and the network of levels with the waveform layer where they have their own,
    beside the model in `folder` whose hash is given -> the file. Raises ConfigError.
    """
    if precision not in PACKED_PRECISIONS:
        raise ConfigError(
            f"precision must be one of {', '.join(PACKED_PRECISIONS)}, got {precision!r}"
        )
    target = folder / packed_file(precision)
    partial = target.with_suffix(".partial")
    with partial.open("wb") as file, torch.no_grad():
        packer = _Packer(file, precision)
        for network in (vae, layered):
            if network is not None:
                packer.network(network.cpu().float(), model_hash)
    partial.replace(target)
    return target


def shape_of(vae: VoiceVae) -> dict[str, int]:
    """What decides every size, by the names of `Shape` in native/src/model.h."""
    c, comb = vae.config, vae.comb
    return {
        "sample_rate": c.sample_rate,
        "hop": c.hop,
        "overlap": c.overlap,
        "frames_per_packet": c.frames_per_packet,
        "window": c.analysis_window,
        "encoder_dim": c.encoder_dim,
        "decoder_dim": c.decoder_dim,
        "latent": c.latent_dim,
        "kernel": c.kernel,
        "expansion": c.expansion,
        "encoder_frame_blocks": c.encoder_blocks[0],
        "encoder_packet_blocks": c.encoder_blocks[1],
        "decoder_packet_blocks": c.decoder_blocks[0],
        "decoder_frame_blocks": c.decoder_blocks[1],
        "levels": c.quality_levels,
        "base_levels": c.base_levels,
        "waveform_bins": c.waveform_bins,
        "refine_dim": c.refine_dim,
        "noise_frames": c.noise_frames,
        "envelope_block": vae.noise_envelope.block,
        "decimation": comb.decimation,
        "comb_block": comb.block,
        "comb_window": comb.window,
        "comb_fine_window": comb.fine_window,
        "shortest": comb.shortest,
        "longest": comb.longest,
        "low_pass": len(comb.low_pass),
    }


class _Packer:
    """Writes one file, array by array."""

    def __init__(self, file: BinaryIO, precision: str) -> None:
        self._file, self._precision = file, precision
        self._blocks = {"mixed": "int8", "exact": "float16", "float32": "float32"}[precision]
        self._others = "float32" if precision == "float32" else "float16"

    def network(self, vae: VoiceVae, model_hash: str) -> None:
        c = vae.config
        said = shape_of(vae)
        shape = np.array([said[name] for name in SHAPE], "<i4")
        code = PACKED_PRECISIONS.index(self._precision)
        self._bytes(
            MAGIC
            + np.array([VERSION, code], "<i4").tobytes()
            + model_hash.encode()
            + shape.tobytes()
        )
        quality = torch.tensor([c.level_qualities])
        precision = vae.log_precision(quality)[0].double().numpy()
        told = torch.stack([base_quality(c, quality)[0], layer_condition(quality)[0]], 1)
        self._floats(told)

        self._floats(vae.analysis_slopes)
        angle = -2 * np.pi * np.arange(c.analysis_window // 2) / c.analysis_window
        self._floats(np.stack([np.cos(angle), np.sin(angle)], 1))
        self._linear(*_weights(vae.encoder_in))
        self._stack(vae.encoder_frames)
        self._linear(*_weights(vae.encoder_down))
        self._condition(vae.encoder_condition)
        self._stack(vae.encoder_packets)
        self._norm(vae.encoder_norm)
        self._linear(*_weights(vae.to_latent))
        self._linear(*_weights(vae.skip_in))
        self._floats(np.exp(precision))
        self._floats(np.exp(-precision))

        self._linear(*_weights(vae.from_latent))
        self._condition(vae.decoder_condition)
        self._stack(vae.decoder_packets)
        self._linear(*_weights(vae.decoder_up))
        self._stack(vae.decoder_frames)
        self._norm(vae.decoder_norm)
        self._linear(*_weights(vae.head))
        self._linear(*_weights(vae.skip_out))
        synthesis = _inverse_dft(c.frame) * _array(vae.frame_slopes)[:, None]
        transform = "float16" if self._precision == "mixed" else "float32"
        self._linear(synthesis, np.zeros(c.frame), transform)
        self._floats(vae.packet_slopes)
        self._floats(vae.noise)
        self._floats(_with_bias(vae.noise_envelope.depth))
        self._floats(_with_bias(vae.comb.control))
        self._floats(_padded(_array(vae.comb.low_pass)[None], 1, 8))

        ceiling = interpolate(vae.waveform.ceiling, (quality - 1).clamp_min(0))[0]
        self._floats(vae.waveform.basis)
        self._floats(vae.waveform.prediction)
        self._floats(torch.exp(ceiling))
        refinement = vae.waveform.refinement
        self._linear(*_weights(refinement.first))
        for layer in (refinement.second, refinement.last):
            weight, bias = _weights(layer)
            self._linear(_padded(weight, 1, PANEL), bias)

    def _stack(self, blocks: BlockStack) -> None:
        for block in blocks:
            assert isinstance(block, CausalBlock)
            self._floats(block.taps)
            self._norm(block.norm)
            self._floats(block.scale)
            self._linear(*_weights(block.up), self._blocks)
            weight, bias = _weights(block.down)
            self._linear(_padded(weight, 1, PANEL), bias, self._blocks)

    def _linear(self, weight: Array, bias: Array, kind: str | None = None) -> None:
        """weight [outputs, inputs], bias [outputs]."""
        kind = kind or self._others
        weight = _padded(weight, PANEL, 8 if kind == "int8" else 1)
        self._floats(_padded(bias[None], 1, PANEL))
        if kind == "int8":
            scale, integers = quantised(weight, 1)
            self._floats(scale)
            pairs = integers.reshape(-1, PANEL, weight.shape[1] // 2, 2).transpose(0, 2, 1, 3)
            self._bytes(np.ascontiguousarray(pairs, np.int8).tobytes())
            return
        panels = weight.reshape(-1, PANEL, weight.shape[1]).transpose(0, 2, 1)
        self._bytes(np.ascontiguousarray(panels, "<f4" if kind == "float32" else "<f2").tobytes())

    def _norm(self, norm: nn.LayerNorm) -> None:
        self._floats(np.stack([_array(norm.weight), _array(norm.bias)]))

    def _condition(self, layer: nn.Linear) -> None:
        weight, bias = _weights(layer)
        self._floats(np.concatenate([weight.T, bias[None]]))

    def _floats(self, values: Array | torch.Tensor) -> None:
        array = _array(values) if isinstance(values, torch.Tensor) else values
        self._bytes(np.ascontiguousarray(array, "<f4").tobytes())

    def _bytes(self, data: bytes) -> None:
        self._file.write(data + b"\0" * (-len(data) % ALIGNMENT))


def _array(values: torch.Tensor) -> Array:
    return values.detach().double().numpy()


def _weights(layer: nn.Linear) -> tuple[Array, Array]:
    weight = _array(layer.weight)
    return weight, np.zeros(len(weight)) if layer.bias is None else _array(layer.bias)


def _with_bias(layer: nn.Linear) -> Array:
    """[outputs, inputs + 8]: the weights, then the bias, then zeros."""
    weight, bias = _weights(layer)
    return np.concatenate([weight, bias[:, None], np.zeros((len(weight), 7))], 1)


def _padded(array: Array, rows: int, columns: int) -> Array:
    """With zeros, to multiples of both."""
    return np.pad(array, [(0, -array.shape[0] % rows), (0, -array.shape[1] % columns)])


def _inverse_dft(length: int) -> Array:
    """[length, 2 * bins]: real parts, then imaginary ones -> samples, as torch.fft.irfft."""
    bins = length // 2 + 1
    angle = 2 * np.pi * np.arange(length)[:, None] * np.arange(bins) / length
    twice = np.full(bins, 2.0)
    twice[0] = 1
    if length % 2 == 0:
        twice[-1] = 1
    real, imaginary = twice * np.cos(angle) / length, -twice * np.sin(angle) / length
    imaginary[:, 0] = 0
    if length % 2 == 0:
        imaginary[:, -1] = 0
    return np.concatenate([real, imaginary], 1)
