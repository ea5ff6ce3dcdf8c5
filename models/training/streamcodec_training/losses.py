"""Distortion D of the rate-distortion objective D + beta * R (docs/model.md). All lengths in samples."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WINDOWS_AND_BANDS = ((64, 8), (128, 16), (256, 32), (512, 64), (1024, 80), (2048, 128))
WAVEFORM_WINDOWS = (256, 512)
ALWAYS_JUDGED = 512
COMPRESSION = -0.35  # |X|^2 to this power times X is X compressed to |X|^0.3


class _RealFft(torch.autograd.Function):
    """rfft as [..., bins, 2]. PyTorch's own backward runs a full complex FFT of twice the length and costs 3x as much on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.length = x.shape[-1]
        return torch.view_as_real(torch.fft.rfft(x))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        half = torch.view_as_complex(grads[0].contiguous()) * (ctx.length / 2)
        half[..., 0] *= 2
        half[..., -1] *= 2
        gradient: Tensor = torch.fft.irfft(half, n=ctx.length)
        return gradient


def real_fft(x: Tensor) -> Tensor:
    """x [..., N], N even -> [..., N / 2 + 1, 2]."""
    result: Tensor = _RealFft.apply(x)  # type: ignore[no-untyped-call]
    return result


def mel_filters(length: int, bands: int, sample_rate: int) -> Tensor:
    """Triangular filters [length // 2 + 1, bands], each with unit sum."""
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, bands + 2) / 2595) - 1)
    frequencies = torch.linspace(0, sample_rate / 2, length // 2 + 1)
    low, mid, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    weights = torch.minimum((frequencies - low) / (mid - low), (high - frequencies) / (high - mid)).clamp_min(0)
    return (weights / weights.sum(1, keepdim=True).clamp_min(1e-8)).T.contiguous()


class Distortion(nn.Module):
    """Log-mel L1 over six window lengths, and squared error of the power-compressed complex spectrum, which lifts PESQ."""

    def __init__(self, sample_rate: int, waveform_weight: float = 8.0, drawn: int | None = None) -> None:
        """With `drawn`, every call judges ALWAYS_JUDGED and so many of the other windows, drawn anew and weighted so that the
        mean over calls is that of all of them: the STFTs cost as much as the network.
        """
        super().__init__()
        self.waveform_weight, self.drawn = waveform_weight, drawn
        for length, bands in WINDOWS_AND_BANDS:
            self.register_buffer(f"mel_{length}", mel_filters(length, bands, sample_rate), persistent=False)
            window = torch.hann_window(length) / math.sqrt(length * 0.375)
            self.register_buffer(f"window_{length}", window, persistent=False)

    def forward(self, outputs: Tensor, reference: Tensor) -> Tensor:
        """outputs [S, B, T], draws of the decoder's noise; reference [B, T], aligned -> [B].

        With two draws each term d becomes mean_s d(y_s, x) - d(y_1, y_2) / 2, an energy distance (Gritsenko et al. 2020): a
        plain mean would punish noise that is right in level and wrong in detail, and the decoder would answer unvoiced sound
        with a buzz at its frame rate instead.
        """
        others = [length for length, _ in WINDOWS_AND_BANDS if length != ALWAYS_JUDGED]
        drawn = others if self.drawn is None else [others[i] for i in torch.randperm(len(others))[: self.drawn].tolist()]
        total = self.term(outputs, reference, ALWAYS_JUDGED)
        for length in drawn:
            total = total + len(others) / len(drawn) * self.term(outputs, reference, length)
        return total / len(WINDOWS_AND_BANDS)

    def term(self, outputs: Tensor, reference: Tensor, length: int) -> Tensor:
        """What one window length says: [B]."""
        window, mel = self.get_buffer(f"window_{length}"), self.get_buffer(f"mel_{length}")
        with torch.no_grad():
            wanted = self._spectrum(reference, window)
            wanted_power = wanted.square().sum(-1)
            wanted_mel = _log_mel(wanted_power, mel)
        spectrum = self._spectrum(outputs, window)
        power = spectrum.square().sum(-1)
        got_mel = _log_mel(power, mel)
        total = (got_mel - wanted_mel).abs().mean((0, 2, 3))
        if len(outputs) == 2:
            total = total - 0.5 * (got_mel[0] - got_mel[1]).abs().mean((1, 2))
        if length in WAVEFORM_WINDOWS:
            got = _compressed(spectrum, power)
            total = total + self.waveform_weight * (got - _compressed(wanted, wanted_power)).square().mean((0, 2, 3, 4))
            if len(outputs) == 2:
                total = total - 0.5 * self.waveform_weight * (got[0] - got[1]).square().mean((1, 2, 3))
        return total

    @staticmethod
    def _spectrum(x: Tensor, window: Tensor) -> Tensor:
        length = len(window)
        return real_fft(F.pad(x, (length // 2, length // 2)).unfold(-1, length, length // 4) * window)


def _log_mel(power: Tensor, mel: Tensor) -> Tensor:
    return 0.5 * torch.log((power @ mel).clamp_min(1e-9))


def _compressed(spectrum: Tensor, power: Tensor) -> Tensor:
    return spectrum * (power + 1e-8).pow(COMPRESSION)[..., None]
