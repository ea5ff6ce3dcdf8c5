"""The entropy tables that ship: fitted to the integers that the bitstream sends, not to the noisy
latents of training.

Training prices a sample of the posterior under smooth logistics. What is sent was rounded by error
and bits, which leaves more zeros and fewer ones than any logistic, and gains depend on the class.
Tables counted from what is sent fit that, and cost a decoder nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from streamcodec.coding.bitstream import Bitstream
from streamcodec.coding.symbols import symbols_of
from streamcodec.engines.api import Means
from streamcodec.engines.torch import TorchEngine
from streamcodec.tables import (
    GAIN_COUNT,
    GAIN_MIN,
    SCALE_OCTAVE_MIN,
    SCALE_STEPS_PER_OCTAVE,
    EntropyTables,
    integer_frequencies,
)
from streamcodec.units import Pcm
from streamcodec_models.entropy import latent_bits

from .waveform_tables import fit_waveform_tables

ROUNDS = 2  # rounding depends on the tables, the tables on the rounding
SCALE_STEPS, SCALE_BATCH, SCALE_RATE = 1_500, 256, 3e-3
SMOOTHING_KERNEL = (0.1, 0.2, 0.4, 0.2, 0.1)  # over neighbouring gains
# Every count begins with this much of a common distribution, so that rare values stay possible.
SMOOTHING_PACKETS = 20.0
SMOOTHING_SYMBOLS = 2_000.0
WAVEFORM_CLIPS = 20


@dataclasses.dataclass(frozen=True)
class Sent:
    """What one level sends: gain steps above silence [N], integers [N, D], and the class of each
    packet [N].
    """

    gain: NDArray[np.int64]
    y: NDArray[np.int32]
    chosen: NDArray[np.int64]


def fit_tables(engine: TorchEngine, segments: Iterator[Pcm], count: int) -> EntropyTables:
    """Tables for the networks of `engine` from `count` segments [T] of the sound they were trained
    on, T a multiple of their packet.
    """
    tables = trained_tables(engine)
    clips = [next(segments)[None] for _ in range(count)]
    levels = tqdm(range(engine.shape.levels), desc="entropy tables: coding", unit="level")
    means = [
        _join([engine.encode(clip, level, engine.initial_encoder_state(1))[0] for clip in clips])
        for level in levels
    ]
    for i in range(ROUNDS):
        bitstream = Bitstream(tables)
        task = f"entropy tables: rounding, {i + 1} of {ROUNDS}"
        sent = [_sent(bitstream, m) for m in tqdm(means, desc=task, unit="level")]
        tables = _counted(
            _scaled(tables, sent, f"entropy tables: fitting, {i + 1} of {ROUNDS}"), sent
        )
    return fit_waveform_tables(tables, engine, clips[:: max(1, count // WAVEFORM_CLIPS)])


def trained_tables(engine: TorchEngine) -> EntropyTables:
    """As training left them. Classes are those of the network without the layer."""
    tables = engine.vae.tables()
    if engine.layered is None:
        return tables
    layered, first = engine.layered.tables(), engine.shape.base_levels
    scale = np.concatenate([tables.level_scale[:first], layered.level_scale[first:]])
    return dataclasses.replace(tables, level_scale=scale, waveform=layered.waveform)


def _join(parts: list[Means]) -> Means:
    return Means(
        parts[0].level,
        np.concatenate([p.gain_index for p in parts]),
        np.concatenate([p.mean for p in parts]),
        np.concatenate([p.coefficients for p in parts]),
    )


def _sent(bitstream: Bitstream, means: Means) -> Sent:
    latents = bitstream.quantise(means)
    gain, y = (latents.gain_index[:, 0] - GAIN_MIN).astype(np.int64), latents.y[:, 0]
    chosen = [bitstream.class_of(means.level, g, v) for g, v in zip(gain.tolist(), y, strict=True)]
    return Sent(gain, y, np.array(chosen))


def _scaled(tables: EntropyTables, sent: list[Sent], task: str) -> EntropyTables:
    """Scales of every level and class, by gradient on the bits of what is sent."""
    step = math.log(2) / SCALE_STEPS_PER_OCTAVE
    level_scale = (
        torch.from_numpy((tables.level_scale + SCALE_OCTAVE_MIN * SCALE_STEPS_PER_OCTAVE) * step)
        .float()
        .requires_grad_()
    )
    class_scale = torch.from_numpy(tables.class_scale * step).float().requires_grad_()
    heard = [s.gain > 0 for s in sent]
    level = torch.cat([torch.full((int(h.sum()),), i) for i, h in enumerate(heard)])
    chosen = torch.from_numpy(
        np.concatenate([s.chosen[h] for s, h in zip(sent, heard, strict=True)])
    )
    y = torch.from_numpy(
        np.concatenate([s.y[h].astype(np.int16) for s, h in zip(sent, heard, strict=True)])
    )
    optimizer = torch.optim.Adam([level_scale, class_scale], SCALE_RATE)
    for i in tqdm(range(SCALE_STEPS if len(y) else 0), desc=task, unit="step"):
        for group in optimizer.param_groups:
            group["lr"] = SCALE_RATE * min(1.0, 2 * (1 - i / SCALE_STEPS))
        batch = torch.randint(len(y), (SCALE_BATCH,))
        loss = (
            latent_bits(y[batch].float(), level_scale[level[batch]] + class_scale[chosen[batch]])
            .sum(1)
            .mean()
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    rounded = [torch.round(t.detach() / step).int().numpy() for t in (level_scale, class_scale)]
    return dataclasses.replace(
        tables,
        level_scale=rounded[0] - SCALE_OCTAVE_MIN * SCALE_STEPS_PER_OCTAVE,
        class_scale=rounded[1],
    )


def _counted(tables: EntropyTables, sent: list[Sent]) -> EntropyTables:
    """Frequencies counted from what is sent, on top of a smoother distribution."""
    classes = len(tables.class_scale)
    gains = np.zeros((classes, GAIN_COUNT - 1))
    used = np.zeros((len(sent), classes + 1))
    symbols = np.zeros(tables.frequencies.shape)
    for level, s in enumerate(sent):
        np.add.at(used[level], s.chosen, 1)
        heard = s.gain > 0
        np.add.at(gains, (s.chosen[heard], s.gain[heard] - 1), 1)
        for chosen in range(classes):
            y = s.y[heard & (s.chosen == chosen)]
            np.add.at(
                symbols,
                (np.broadcast_to(tables.scale_rows(level, chosen), y.shape), symbols_of(y)),
                1,
            )
    symbols[:, :-1] = (symbols[:, :-1] + symbols[:, -2::-1]) / 2  # a latent's sign means nothing
    symbols += SMOOTHING_SYMBOLS * tables.frequencies / tables.frequencies.sum(1, keepdims=True)
    gains = np.apply_along_axis(np.convolve, 1, gains, SMOOTHING_KERNEL, "same")
    used += SMOOTHING_PACKETS * (used.sum(0) + 1) / (used.sum(0) + 1).sum()
    gains += SMOOTHING_PACKETS * (gains.sum(0) + 1) / (gains.sum(0) + 1).sum()
    return dataclasses.replace(
        tables,
        frequencies=integer_frequencies(symbols),
        class_frequencies=integer_frequencies(used),
        gain_frequencies=integer_frequencies(gains),
    )
