"""A checkpoint becomes a model that ships: float16 weights, integer tables, and what each quality
level spends.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from streamcodec.coding.bitstream import Bitstream
from streamcodec.engines.api import Means
from streamcodec.engines.torch import TorchEngine
from streamcodec_models import weights
from streamcodec_models.config import VaeConfig
from streamcodec_models.vae import VoiceVae

from .corpus import AUGMENTATION, SegmentSampler, audio_files, load_corpus, read_mono
from .parameters import final_weights
from .tables import fit_tables

FIT_SEGMENTS, FIT_SECONDS = 60, 4
CALIBRATION_CLIPS = 12
CALIBRATION_SECONDS = 5


def export(checkpoint: Path, folder: Path, calibration: Path) -> Path:
    """Writes model.safetensors and config.json into `folder`. `calibration` is a folder of speech
    on which tables are fitted and the rates of levels measured.
    """
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    vae = VoiceVae(VaeConfig.from_dict(state["model_config"]))
    vae.load_state_dict(final_weights(state))
    vae.eval()
    c = vae.config
    # the run's own, where it was trained on the same
    speech = load_corpus(calibration, c.sample_rate, checkpoint.parent / "cache")
    segment = min(FIT_SECONDS * c.sample_rate, len(speech) - 1) // c.packet * c.packet
    sampler = SegmentSampler(
        speech, None, c.sample_rate, segment, c.packet, 1, AUGMENTATION, np.random.default_rng(0)
    )
    torch.manual_seed(0)
    tables = fit_tables(vae, (batch[0] for batch, _ in sampler), FIT_SEGMENTS)
    rates = level_bitrates(vae, Bitstream(tables), calibration)
    weights.save(folder, vae, tables, rates)
    return folder


def level_bitrates(vae: VoiceVae, bitstream: Bitstream, calibration: Path) -> list[float]:
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
    rising: list[float] = (
        np.maximum.accumulate(np.array(rates) + 1e-3 * np.arange(len(rates))).round(3).tolist()
    )
    return rising
