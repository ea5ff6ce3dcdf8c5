"""Weights become a model that ships: float16, integer tables, what each quality level costs, and
the packed form that the native engine reads.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from streamcodec.coding.bitstream import Bitstream
from streamcodec.coding.model import CodecModel, bitstream_of
from streamcodec.coding.native_bitstream import NativeBitstream
from streamcodec.coding.stream import StreamEncoder
from streamcodec.engines.torch import TorchEngine
from streamcodec.errors import AudioError, ModelError, OutputError
from streamcodec.files import cannot_write
from streamcodec_models import weights
from streamcodec_models.catalogue import WEIGHTS_FILE
from streamcodec_models.pack import pack

from .corpus import audio_files, first_clips
from .sampler import AUGMENTATION, SegmentSampler
from .tables import fit_tables

FIT_SEGMENTS, FIT_SECONDS = 60, 4
CALIBRATION_CLIPS = 12
CALIBRATION_SECONDS = 5


def export(engine: TorchEngine, folder: Path, calibration: Path, speech: NDArray[np.int16]) -> None:
    """Writes the networks of `engine` as model.safetensors, config.json and packed weights into
    `folder`; a model that was there stays until they are complete. Tables are fitted to `speech`,
    [T] as `load_corpus` reads it from the folder `calibration`, whose recordings say what each
    level costs. Raises AudioError, ModelError where weights do not fit into float16, OutputError.
    """
    networks = [vae for vae in (engine.vae, engine.layered) if vae is not None]
    named = [tensor for vae in networks for tensor in vae.state_dict().items()]
    if wrong := [n for n, t in named if not bool(t.half().isfinite().all())]:
        raise ModelError(f"{', '.join(wrong)}: beyond float16, in which models are stored")
    c = engine.vae.config
    segment = min(FIT_SECONDS * c.sample_rate, len(speech) - 1) // c.packet * c.packet
    sampler = SegmentSampler(
        speech, None, c.sample_rate, segment, c.packet, 1, AUGMENTATION, np.random.default_rng(0)
    )
    torch.manual_seed(0)
    tables = fit_tables(engine, (batch[0] for batch, _ in sampler), FIT_SEGMENTS)
    bitrates = level_bitrates(engine, bitstream_of(tables), calibration)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as new:
            weights.save(Path(new), engine.vae, tables, bitrates, engine.layered)
            stored = weights.load(Path(new))
            pack(stored.vae, stored.hash, Path(new), layered=stored.layered)
            for file in Path(new).iterdir():
                file.replace(folder / file.name)
    except (OSError, safetensors.SafetensorError) as error:
        raise OutputError(cannot_write(folder / WEIGHTS_FILE, error)) from error


def level_bitrates(
    engine: TorchEngine, bitstream: Bitstream | NativeBitstream, calibration: Path
) -> list[float]:
    """Mean payload rate in bit/s of every quality level over evenly chosen clips, made to rise with
    the level, without the waveform layer and with it. Raises AudioError.
    """
    c = engine.vae.config
    files = audio_files(calibration)
    chosen = files[:: max(1, len(files) // CALIBRATION_CLIPS)]
    others = sorted(set(files) - set(chosen))  # in place of bad ones
    longest = CALIBRATION_SECONDS * c.sample_rate
    clips = first_clips(
        chosen + others, c.sample_rate, c.packet, longest, CALIBRATION_CLIPS, "bit rates: reading"
    )
    if not clips:
        raise AudioError(f"no recording below {calibration} is as long as a packet")
    model = CodecModel(engine, bitstream, (1.0,) * c.quality_levels, "")
    rates = []
    for level in tqdm(range(bitstream.levels), desc="bit rates: measuring", unit="level"):
        size_bytes, packets = 0, 0
        for clip in clips:
            encoder = StreamEncoder(model, level=level)
            payloads = encoder.encode(clip[: len(clip) // c.packet * c.packet])
            size_bytes, packets = size_bytes + sum(map(len, payloads)), packets + len(payloads)
        rates.append(size_bytes * 8 / packets * c.sample_rate / c.packet)
    parts = np.split(np.array(rates), [c.base_levels])
    rising = [np.maximum.accumulate(part + 1e-3 * np.arange(len(part))) for part in parts]
    return [round(float(rate), 3) for rate in np.concatenate(rising)]
