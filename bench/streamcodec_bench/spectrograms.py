"""Spectrograms of several versions of a clip in one picture: the same axes, the same colours."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from numpy.typing import NDArray

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from streamcodec.units import Pcm

from .formats import FULL_BAND_HZ, SAMPLE_RATE

WINDOW_S, HOP_S = 0.032, 0.008
LEAST_DB, MOST_DB = -110, -30  # of a full-scale sine
# Where the panels lie, in shares of the picture: players draw over them.
LEFT, WIDTH, STEP = 0.045, 0.283, 0.298
BOTTOM, TOP = 0.17, 0.95
INCHES, DPI = (12, 2.6), 110
INK, LOST = "#1b1f24", "#ef4444"


def top_hz(sample_rate: int) -> float:
    """Where the axis of frequencies ends: with the band, at the latest where full band does."""
    return min(sample_rate / 2, FULL_BAND_HZ)


def levels(pcm: Pcm, sample_rate: int = SAMPLE_RATE) -> NDArray[np.float64]:
    """PCM [T] -> dB below a full-scale sine [frequencies, frames], from 0 to half the rate."""
    size, hop = round(WINDOW_S * sample_rate), round(HOP_S * sample_rate)
    padded = np.pad(pcm.astype(np.float64), size // 2)
    window = np.hanning(size)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * window
    amplitude = np.abs(np.fft.rfft(frames)) * 2 / window.sum()
    decibels: NDArray[np.float64] = 20 * np.log10(amplitude + 1e-9).T
    return decibels


def draw(
    versions: Sequence[tuple[str, Pcm]],
    lost: Sequence[tuple[float, float]] = (),
    sample_rate: int = SAMPLE_RATE,
) -> tuple[bytes, str]:
    """Three titles with PCM [T] of one length, side by side -> the picture and its media type.
    lost: from when to when nothing arrived, in seconds; marked above all versions but the first.
    """
    figure = plt.figure(figsize=INCHES, dpi=DPI, facecolor="white")
    seconds = len(versions[0][1]) / sample_rate
    top = top_hz(sample_rate) / 1000
    for number, (title, pcm) in enumerate(versions):
        axis = figure.add_axes((LEFT + number * STEP, BOTTOM, WIDTH, TOP - BOTTOM - 0.09))
        image = axis.imshow(
            levels(pcm, sample_rate),
            origin="lower",
            aspect="auto",
            extent=(0, seconds, 0, sample_rate / 2000),
            vmin=LEAST_DB,
            vmax=MOST_DB,
            cmap="magma",
        )
        axis.set_title(title, fontsize=9, loc="left", pad=5, color=INK)
        axis.set_ylim(0, top)
        axis.set_yticks(np.linspace(0, top, 5))
        axis.set_xticks(np.arange(0, seconds + 0.01))
        axis.tick_params(labelsize=8, length=3, labelleft=number == 0)
        axis.set_xlabel("s", fontsize=8, labelpad=1)
        if number == 0:
            axis.set_ylabel("kHz", fontsize=8, labelpad=2)
        else:
            for start, end in lost:
                axis.axvspan(start, end, ymin=0.94, color=LOST, linewidth=0)
    bar = figure.colorbar(image, cax=figure.add_axes((0.944, BOTTOM, 0.008, TOP - BOTTOM - 0.09)))
    bar.ax.tick_params(labelsize=8, length=3)
    bar.set_label("dB of full scale", fontsize=8, labelpad=2)
    target = io.BytesIO()
    # lossy, a fifth of a PNG: a picture of noise does not compress otherwise
    figure.savefig(target, format="webp", pil_kwargs={"quality": 62, "method": 6})
    plt.close(figure)
    return target.getvalue(), "image/webp"
