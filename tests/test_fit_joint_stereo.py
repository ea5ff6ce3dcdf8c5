"""`streamcodec train joint-stereo`: tables that make alike channels cheap, for any model."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from conftest import voice
from streamcodec import StreamDecoder, StreamEncoder, load_model
from streamcodec.errors import AudioError
from streamcodec_models import catalogue
from streamcodec_training import joint_stereo
from streamcodec_training.cli import train

RATE = 16_000


@pytest.fixture
def folder(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model without joint stereo, and what it is to be fitted to: of one channel and of two."""
    monkeypatch.setattr(joint_stereo, "PIECES", 12)
    monkeypatch.setattr(joint_stereo, "PIECE_S", 1.0)
    monkeypatch.setattr(joint_stereo, "CLASS_ROUNDS", 2)
    shutil.copytree(model_folder, tmp_path / "model")
    (tmp_path / "data").mkdir()
    for seed in range(4):
        soundfile.write(tmp_path / "data" / f"{seed}.wav", voice(2.5, seed=seed), RATE)
    both = np.stack([voice(2.5, seed=8), voice(2.5, seed=9)], 1)
    soundfile.write(tmp_path / "data" / "stereo.wav", both, RATE)
    return tmp_path


def test_a_fitted_model_tells_one_channel_by_the_other(folder: Path) -> None:
    model = load_model(folder / "model", "cpu", "torch")
    assert model.joint is None
    (folder / "data" / "text.wav").write_text("no audio")
    command = ["joint-stereo", str(folder / "model"), "--data", str(folder / "data")]
    done = CliRunner().invoke(train, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert catalogue.JOINT_STEREO_FILE in done.output
    model = load_model(folder / "model", "cpu", "torch")
    pcm = np.repeat(voice(1, seed=5)[:, None], 2, 1)  # which it was not fitted to
    for level in (2, model.engine.shape.levels - 1):
        sizes = {}
        for joint in (False, True):
            encoder = StreamEncoder(model, level=level, channels=2, joint_stereo=joint)
            payloads = encoder.encode(pcm)
            sizes[joint] = sum(map(len, payloads))
            decoder = StreamDecoder(model, encoder.config)
            assert all(np.isfinite(decoder.decode(payload)).all() for payload in payloads)
        assert sizes[True] < 0.8 * sizes[False]


def test_nothing_to_fit_to_is_said(folder: Path) -> None:
    shutil.rmtree(folder / "data")
    (folder / "data").mkdir()
    soundfile.write(folder / "data" / "short.wav", voice(0.5), RATE)
    with pytest.raises(AudioError, match="no recording of 1 s or more"):
        joint_stereo.fit_joint_stereo([folder / "data"], folder / "model")
    assert not (folder / "model" / catalogue.JOINT_STEREO_FILE).exists()


def test_the_same_seed_fits_the_same_tables(folder: Path) -> None:
    fitted = [
        joint_stereo.fit_joint_stereo([folder / "data"], folder / "model", seed=1).read_bytes()
        for _ in range(2)
    ]
    assert fitted[0] == fitted[1]
