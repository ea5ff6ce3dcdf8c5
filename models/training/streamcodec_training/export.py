"""Weights become a model that ships: float16, integer tables, what each quality level costs, and
the packed form that the native engine reads.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from streamcodec.coding.bitstream import Bitstream
from streamcodec.coding.model import bitstream_of
from streamcodec.coding.native_bitstream import NativeBitstream
from streamcodec.engines.api import Means
from streamcodec.engines.torch import TorchEngine
from streamcodec_models import weights
from streamcodec_models.pack import pack
from streamcodec_models.vae import VoiceVae

from .corpus import audio_files, load_corpus, read_mono
from .sampler import AUGMENTATION, SegmentSampler
from .tables import fit_tables

FIT_SEGMENTS, FIT_SECONDS = 60, 4
CALIBRATION_CLIPS = 12
CALIBRATION_SECONDS = 5


def export(vae: VoiceVae, folder: Path, calibration: Path, cache: Path) -> None:
    """Writes model.safetensors, config.json and packed weights into `folder`. On the speech below
    `calibration`, which is read through `cache`, tables are fitted and the rates of levels
    measured. Raises AudioError.
    """
    c = vae.config
    speech = load_corpus(calibration, c.sample_rate, cache)
    segment = min(FIT_SECONDS * c.sample_rate, len(speech) - 1) // c.packet * c.packet
    sampler = SegmentSampler(
        speech, None, c.sample_rate, segment, c.packet, 1, AUGMENTATION, np.random.default_rng(0)
    )
    torch.manual_seed(0)
    tables = fit_tables(vae, (batch[0] for batch, _ in sampler), FIT_SEGMENTS)
    weights.save(folder, vae, tables, level_bitrates(vae, bitstream_of(tables), calibration))
    stored = weights.load(folder)
    pack(stored.vae, stored.hash, folder)


def level_bitrates(
    vae: VoiceVae, bitstream: Bitstream | NativeBitstream, calibration: Path
) -> list[float]:
    """Mean payload rate in bit/s of every quality level over evenly chosen clips, made to rise with
    the level.
    """
    c = vae.config
    engine = TorchEngine(vae)
    files = audio_files(calibration)
    chosen = files[:: max(1, len(files) // CALIBRATION_CLIPS)][:CALIBRATION_CLIPS]
    clips = [read_mono(f, c.sample_rate)[: CALIBRATION_SECONDS * c.sample_rate] for f in chosen]
    rates = []
    for level in range(bitstream.levels):
        size_bytes, packets = 0, 0
        for clip in clips:
            pcm = clip[: len(clip) // c.packet * c.packet][None]
            means, _ = engine.encode(pcm, level, engine.initial_encoder_state(1))
            for gain, mean in zip(means.gain_index, means.mean, strict=True):
                size_bytes += len(bitstream.encode(Means(level, gain[None], mean[None]), level)[1])
                packets += 1
        rates.append(size_bytes * 8 / packets * c.sample_rate / c.packet)
    rising = np.maximum.accumulate(np.array(rates) + 1e-3 * np.arange(len(rates)))
    return [round(float(rate), 3) for rate in rising]
