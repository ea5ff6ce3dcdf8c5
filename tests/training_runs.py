"""What the tests of training share: a small corpus, and the settings of a run of seconds."""

from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path

import numpy as np
import soundfile

from conftest import voice
from streamcodec_training.config import TrainingConfig


def make_corpus(folder: Path) -> Path:
    """7 s of two voices at two rates, in a folder and a subfolder."""
    (folder / "sub").mkdir(parents=True)
    soundfile.write(folder / "a.wav", voice(4, 24_000), 24_000)
    soundfile.write(folder / "sub" / "b.flac", np.stack([voice(3, 16_000, 1)] * 2, 1), 16_000)
    return folder


def short_run(corpus: Path, out: Path, steps: int = 3) -> TrainingConfig:
    return TrainingConfig(
        data=corpus, out=out, steps=steps, batch=2, segment_s=0.4, device="cpu", augment=False
    )


def continued(config: TrainingConfig, steps: int) -> TrainingConfig:
    """The same run with another budget."""
    return dataclasses.replace(config, steps=steps)


def full_disk(file: int) -> None:
    """In place of os.fsync: where some file systems say that they have no room."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
