"""The demo's picture: spectrograms of what was sent and what was heard, and the bit rate."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

matplotlib.use("Agg")
import matplotlib.pyplot as plt

INK, MUTED, ACCENT = "#1b1f24", "#6b7280", "#1d6fb8"
FLOOR_DB = -80
WINDOW_S = 0.032


def draw(
    target: Path,
    sent: NDArray[np.float32],
    played: NDArray[np.float32],
    sample_rate: int,
    packet_s: float,
    sizes: list[int],
    title: str,
) -> None:
    """sent, played [T], aligned; sizes: payload bytes of each packet. Writes a PNG."""
    figure, axes = plt.subplots(
        3, 1, figsize=(11, 8), sharex=True, height_ratios=[3, 3, 1.6], layout="constrained"
    )
    for axis, pcm, name in ((axes[0], sent, "sent"), (axes[1], played, "heard")):
        # a spectrogram has no level for digital silence
        dithered = (
            pcm + np.random.default_rng(0).standard_normal(len(pcm)).astype(np.float32) * 1e-7
        )
        axis.specgram(
            dithered,
            NFFT=round(WINDOW_S * sample_rate),
            Fs=sample_rate,
            noverlap=round(0.75 * WINDOW_S * sample_rate),
            scale="dB",
            vmin=FLOOR_DB - 40,
            vmax=-40,
            cmap="magma",
        )
        axis.set_ylabel("kHz", color=MUTED)
        axis.set_yticks(
            np.arange(0, sample_rate / 2 + 1, sample_rate / 8),
            [f"{f / 1000:g}" for f in np.arange(0, sample_rate / 2 + 1, sample_rate / 8)],
        )
        axis.text(
            0.01, 0.92, name, transform=axis.transAxes, color="white", fontweight="bold", va="top"
        )
    rates = np.array(sizes) * 8 / packet_s / 1000
    smooth = np.convolve(rates, np.ones(25) / 25, "same") if len(rates) > 25 else rates
    times = np.arange(len(rates)) * packet_s
    axes[2].fill_between(times, rates, color=ACCENT, alpha=0.25, linewidth=0, label="each packet")
    axes[2].plot(times, smooth, color=ACCENT, linewidth=1.6, label="0.5 s mean")
    axes[2].axhline(
        rates.mean(),
        color=INK,
        linewidth=0.8,
        linestyle="--",
        label=f"mean {rates.mean():.2f} kbit/s",
    )
    axes[2].set_ylabel("payload kbit/s", color=MUTED)
    axes[2].set_xlabel("seconds", color=MUTED)
    axes[2].set_ylim(0, max(1.0, float(np.percentile(rates, 99.5)) * 1.15))
    axes[2].legend(loc="upper right", fontsize=8, ncols=3, frameon=False)
    axes[2].set_xlim(0, len(sent) / sample_rate)
    for axis in axes:
        axis.tick_params(colors=MUTED, labelsize=8)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    figure.suptitle(title, color=INK, fontsize=11, x=0.01, ha="left")
    figure.savefig(target, dpi=110)
    plt.close(figure)
