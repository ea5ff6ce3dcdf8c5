"""Learning curves of a run as a picture: what it looks like while it goes on."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from streamcodec.errors import ConfigError

from .measured import check_picture

SHOWN = ("lagrangian", "distortion", "kbit/s", "learning rate share")
SMOOTHING = 20  # logged points


def read_curve(events: Path, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and values of one metric over every resumption of a run, sorted by step. Raises
    ConfigError where there are none.
    """
    accumulator = EventAccumulator(str(events))
    if events.is_dir():
        accumulator.Reload()
    if name not in accumulator.Tags()["scalars"]:
        raise ConfigError(f"no curve of {name} in {events}: name the folder of a run, its --out")
    points = sorted((e.step, e.value) for e in accumulator.Scalars(name))
    return np.array([p[0] for p in points], float), np.array([p[1] for p in points], float)


def draw(run: Path, target: Path) -> None:
    """Writes a picture of the curves in SHOWN, raw and smoothed, of the run in the folder `run`.
    Raises ConfigError where there are none, or for a picture of a kind that is unknown.
    """
    check_picture(target)
    figure, axes = plt.subplots(2, 2, figsize=(9, 5), sharex=True, layout="constrained")
    for axis, name in zip(axes.flat, SHOWN, strict=True):
        steps, values = read_curve(run / "events", name)
        axis.plot(steps, values, color="#1d6fb8", alpha=0.2, linewidth=0.6)
        kernel = np.ones(min(SMOOTHING, len(values)))
        smooth = np.convolve(values, kernel, "same") / np.convolve(
            np.ones(len(values)), kernel, "same"
        )
        axis.plot(steps, smooth, color="#1d6fb8", linewidth=1.4)
        axis.set_title(name, fontsize=9, loc="left")
        axis.tick_params(labelsize=8, colors="#6b7280")
        axis.spines[["top", "right"]].set_visible(False)
        low, high = np.percentile(values, [1, 97])
        axis.set_ylim(min(0.0, low), high * 1.05)
    figure.savefig(target, dpi=100)
    plt.close(figure)
