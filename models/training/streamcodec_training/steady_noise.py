"""Noise for the decoder's table whose power is constant in every band and window.

The power of white noise in a band of 250 Hz and a window of 32 ms has a standard deviation of 2 dB.
Those fluctuations are not the original's, and cost PESQ and ESTOI as much as a wrong level would.
So the samples are optimised until every band of every window has the same power. The noise is
still not periodic within the table.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

WINDOWS_AND_WIDTHS_HZ = ((128, 1_000.0), (256, 500.0), (512, 250.0), (512, 500.0))  # at 16 kHz
RATE = 16_000
STEPS, STEP = 400, 0.03


@functools.cache
def steady_noise(
    samples: int,
    rate: int = RATE,
    windows: tuple[tuple[int, float], ...] = WINDOWS_AND_WIDTHS_HZ,
) -> Tensor:
    """[samples] of unit power at `rate` Hz, whose end continues in its beginning; the same in every
    call. windows: their lengths in samples at RATE, and how wide their bands are, Hz.
    """
    stretch = rate // RATE
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(samples, generator=generator).requires_grad_()
    optimizer = torch.optim.Adam([noise], STEP)
    for _ in range(STEPS):
        first = int(torch.randint(samples, (1,), generator=generator))
        optimizer.zero_grad()
        flicker = torch.stack(
            [
                log_band_power(noise.roll(first), length * stretch, width, rate).square().mean()
                for length, width in windows
            ]
        ).sum()
        flicker.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    made = noise.detach()
    return made / made.square().mean().sqrt()


def log_band_power(noise: Tensor, length: int, width_hz: float, rate: int = RATE) -> Tensor:
    """[T] -> nepers of power in half overlapping bands of windows of `length`, [windows, bands]:
    about 0 for white noise of unit power.
    """
    window = torch.hann_window(length)
    frames = (
        torch.cat([noise, noise[:length]]).unfold(0, length, length // 4)
        * window
        / window.square().sum().sqrt()
    )
    hz = torch.arange(length // 2 + 1) * rate / length
    low = torch.arange(0, rate / 2 - width_hz + 1, width_hz / 2)
    bands = ((hz[:, None] >= low) & (hz[:, None] < low + width_hz)).float()
    return torch.log(torch.fft.rfft(frames).abs().square() @ (bands / bands.sum(0)) + 1e-3)
