"""Fixtures that several tests share: a small untrained model, the shipped one, and speech-like PCM
that needs no file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from listening_room import Room
from streamcodec.coding.model import CodecModel, load_model
from streamcodec_models import weights
from streamcodec_models.config import VaeConfig
from streamcodec_models.vae import VoiceVae

# The machines that run this are shared and slow at times: no example fails for the time it took.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

SPEECH = Path(__file__).parents[1] / "bench" / "streamcodec_bench" / "speech" / "librispeech.flac"
SMALL = VaeConfig(
    encoder_dim=24,
    decoder_dim=24,
    latent_dim=32,
    classes=4,
    quality_knots=3,
    encoder_blocks=(1, 1),
    decoder_blocks=(1, 1),
    prior_dim=16,
    refine_dim=16,
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def small_vae(seed: int = 0) -> VoiceVae:
    """A lapped cosine transform with an untrained network beside it: it passes speech well enough
    to test what surrounds it.
    """
    torch.manual_seed(seed)
    vae = VoiceVae(SMALL)
    length = SMALL.packet + SMALL.overlap
    angle = np.pi / length * np.outer(np.arange(length), np.arange(length) + 0.5)
    basis = np.cos(angle) * np.sqrt(2 / length)
    basis[0] /= np.sqrt(2)
    variance = 20 / (1 + np.arange(length) / 4) ** 2
    vae.start_from_klt(torch.from_numpy(basis).float(), torch.from_numpy(variance).float())
    return vae.eval()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model as a folder on disk."""
    folder = tmp_path_factory.mktemp("model")
    vae = small_vae()
    weights.save(
        folder,
        vae,
        vae.tables(),
        [3000.0 * 1.15**level for level in range(SMALL.quality_levels)],
    )
    return folder


@pytest.fixture(scope="session")
def model(model_folder: Path) -> CodecModel:
    return load_model(model_folder, "cpu", "torch")


@pytest.fixture(scope="session")
def shipped() -> CodecModel:
    return load_model(device="cpu", engine="torch")


@pytest.fixture(scope="session")
def installed() -> CodecModel:
    """The shipped one with the engine that users get."""
    return load_model(device="cpu")


def voice(seconds: float, sample_rate: int = 16_000, seed: int = 0) -> NDArray[np.float32]:
    """[T] in -1..1: a gliding harmonic tone with formants, breath, and pauses."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    tone = sum(np.sin(k * phase) / k for k in range(1, 12))
    breath = rng.standard_normal(len(t)) * 0.05
    envelope = np.clip(np.sin(2 * np.pi * 1.3 * t) + 0.3, 0, 1)
    return ((tone * 0.2 + breath) * envelope * 0.5).astype(np.float32)


@pytest.fixture(scope="session")
def speech() -> NDArray[np.float32]:
    """[T] at 16 kHz: the 21 s of LibriSpeech that come with the bench."""
    pcm, _ = soundfile.read(SPEECH, dtype="float32")
    return np.asarray(pcm)


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    """A listener that is connected to an empty room."""
    new = Room()
    new.welcome()
    yield new
    await new.close()
