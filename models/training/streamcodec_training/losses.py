"""Distortion D of the rate-distortion objective D + beta * R (docs/model.md). All lengths in
samples.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WINDOWS_AND_BANDS = ((64, 8), (128, 16), (256, 32), (512, 64), (1024, 80), (2048, 128))
WAVEFORM_WINDOWS = (256, 512)
ALWAYS_JUDGED = 512
BARK_STEP = 0.5
ZWICKER = 0.23  # loudness grows with this power of the sound's power
LISTENING_LEVEL = 10**7.9  # 79 dB SPL: what a whole segment is played at
SPLIT_SECOND_S = 0.32  # the interval over which P.862 takes that mean
WORST_FRAMES = 6  # exponent of the mean over frames
LEAST_DISTURBANCE = 1e-3
SILENCE = 1e-6  # mean power below which a segment is not turned up
MASKED_SHARE = 0.25  # of the fainter loudness: smaller errors are not heard
ENVELOPE_RATE = 1_000
BUZZ_BANDS_HZ = ((2_000, 4_000), (4_000, 6_000), (6_000, 8_001))
REPETITION_BANDS_HZ = ((1_500, 3_000), (3_000, 5_000), (5_000, 8_001))
QUIET = 1e-8  # mean power of a band in a window below which repetition is inaudible
SWINGS_HZ = (30.0, 220.0)
SWING_WIDTH_HZ = 1.5
JUDGED_MULTIPLES = 2  # of the packet rate: the frame rate is the second
FRAME_RATES_COUNT = 4.0  # weight of each, where all of SWINGS_HZ together have 1
COMPRESSION = -0.35  # |X|^2 to this power times X is X compressed to |X|^0.3


class _RealFft(torch.autograd.Function):
    """rfft as [..., bins, 2]. PyTorch's own backward runs a full complex FFT of twice the length
    and costs 3x as much on a CPU.
    """

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


def unit_window(length: int) -> Tensor:
    """Hann window [length] of unit energy."""
    return torch.hann_window(length) / math.sqrt(length * 0.375)


def mel_filters(length: int, bands: int, sample_rate: int) -> Tensor:
    """Triangular filters [length // 2 + 1, bands], each with unit sum."""
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, bands + 2) / 2595) - 1)
    frequencies = torch.linspace(0, sample_rate / 2, length // 2 + 1)
    low, mid, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    weights = torch.minimum(
        (frequencies - low) / (mid - low), (high - frequencies) / (high - mid)
    ).clamp_min(0)
    return (weights / weights.sum(1, keepdim=True).clamp_min(1e-8)).T.contiguous()


class LoudnessDisturbance(nn.Module):
    """Audible difference of two sounds, from power spectra. Log-mel errors count a faint band as
    much as a loud one; the ear, and PESQ, hear in loudness.

    Source: the psychoacoustic model of ITU-T P.862 (Rix et al. 2001) without its alignment and
    level tracking: Bark bands, threshold in quiet (Terhardt 1979), Zwicker's loudness, a dead zone
    for what is masked, extra weight for what was added, and means of sixth powers over a third of a
    second, which its worst frames dominate.
    """

    def __init__(self, sample_rate: int, length: int) -> None:
        super().__init__()
        hz = torch.linspace(0, sample_rate / 2, length // 2 + 1)
        bark = 26.81 * hz / (1960 + hz) - 0.53  # Traunmueller 1990
        edges = torch.arange(0.5, float(bark[-1]) + BARK_STEP, BARK_STEP)
        bands = torch.stack(
            [(bark >= low) & (bark < low + BARK_STEP) for low in edges.tolist()], 1
        ).float()
        bands = bands[:, bands.sum(0) > 0]
        centre = (hz[:, None] * bands).sum(0) / bands.sum(0) / 1000
        quiet_db = (
            3.64 * centre**-0.8 - 6.5 * torch.exp(-0.6 * (centre - 3.3) ** 2) + 1e-3 * centre**4
        )
        # windows are a quarter of their length apart
        self.frames = round(SPLIT_SECOND_S * sample_rate * 4 / length)
        self.register_buffer("bands", bands * 2 / length, persistent=False)
        self.register_buffer("quiet", 10 ** (quiet_db / 10), persistent=False)

    def forward(self, power: Tensor, wanted: Tensor) -> Tensor:
        """power [S, B, F, bins] and wanted [B, F, bins], of windows with unit energy -> [B],
        roughly in points of PESQ's raw scale.
        """
        bands, quiet = self.get_buffer("bands"), self.get_buffer("quiet")
        wanted = wanted @ bands
        level = LISTENING_LEVEL / wanted.sum(-1, keepdim=True).mean(-2, keepdim=True).clamp_min(
            SILENCE
        )
        got, wanted = power @ bands * level, wanted * level
        heard, meant = self._loudness(got, quiet), self._loudness(wanted, quiet)
        error = heard - meant
        error = torch.sign(error) * (
            error.abs() - MASKED_SHARE * torch.minimum(heard, meant)
        ).clamp_min(0)
        added = ((got.detach() + 50) / (wanted + 50)) ** 1.2
        added = torch.where(added < 3, 0, added.clamp(max=12))
        frames = 0.277 * ((error.square().mean(-1) + 1e-4).sqrt() - 1e-2) + 0.121 * (
            error.abs() * added
        ).mean(-1)
        frames = frames.clamp_min(LEAST_DISTURBANCE)
        seconds = (
            frames.unfold(-1, self.frames, self.frames // 2)
            if frames.shape[-1] > self.frames
            else frames[..., None, :]
        )
        worst = seconds.pow(WORST_FRAMES).mean(-1).pow(1 / WORST_FRAMES)
        return worst.mean((0, 2)) - LEAST_DISTURBANCE

    @staticmethod
    def _loudness(power: Tensor, quiet: Tensor) -> Tensor:
        loudness: Tensor = (2 * quiet) ** ZWICKER * (
            (0.5 + 0.5 * power / quiet) ** ZWICKER - 0.5**ZWICKER
        )
        return loudness


class Distortion(nn.Module):
    """Log-mel L1 over six window lengths, squared error of the power-compressed complex spectrum,
    which lifts PESQ, and disturbance in loudness.
    """

    def __init__(
        self,
        sample_rate: int,
        waveform_weight: float = 8.0,
        loudness_weight: float = 0.35,
        drawn: int | None = None,
    ) -> None:
        """With `drawn`, every call judges ALWAYS_JUDGED and that many of the other windows, drawn
        for each call and weighted so that the mean over calls is that of all windows: all STFTs
        together cost as much as the network.
        """
        super().__init__()
        self.waveform_weight, self.loudness_weight, self.drawn = (
            waveform_weight,
            loudness_weight,
            drawn,
        )
        self.loudness = LoudnessDisturbance(sample_rate, ALWAYS_JUDGED)
        for length, bands in WINDOWS_AND_BANDS:
            self.register_buffer(
                f"mel_{length}", mel_filters(length, bands, sample_rate), persistent=False
            )
            self.register_buffer(f"window_{length}", unit_window(length), persistent=False)

    def forward(self, outputs: Tensor, reference: Tensor) -> Tensor:
        """outputs [S, B, T], draws of the decoder's noise; reference [B, T], aligned -> [B].

        With two draws each term d becomes mean_s d(y_s, x) - d(y_1, y_2) / 2, an energy distance
        (Gritsenko et al. 2020): a plain mean would punish noise of the right level that differs in
        its samples, and the decoder would learn to buzz at its frame rate instead.
        """
        others = [length for length, _ in WINDOWS_AND_BANDS if length != ALWAYS_JUDGED]
        drawn = (
            others
            if self.drawn is None
            else [others[i] for i in torch.randperm(len(others))[: self.drawn].tolist()]
        )
        total = self.term(outputs, reference, ALWAYS_JUDGED)
        for length in drawn:
            total = total + len(others) / len(drawn) * self.term(outputs, reference, length)
        return total / len(WINDOWS_AND_BANDS)

    def term(self, outputs: Tensor, reference: Tensor, length: int) -> Tensor:
        """The distortion at one window length, [B]."""
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
        if length == ALWAYS_JUDGED and self.loudness_weight:
            disturbance = self.loudness(power, wanted_power)
            if len(outputs) == 2:
                disturbance = disturbance - 0.5 * self.loudness(power[:1], power[1])
            total = total + self.loudness_weight * len(WINDOWS_AND_BANDS) * disturbance
        if length in WAVEFORM_WINDOWS:
            got = compressed(spectrum, power)
            total = total + self.waveform_weight * (
                got - compressed(wanted, wanted_power)
            ).square().mean((0, 2, 3, 4))
            if len(outputs) == 2:
                total = total - 0.5 * self.waveform_weight * (got[0] - got[1]).square().mean(
                    (1, 2, 3)
                )
        return total

    @staticmethod
    def _spectrum(x: Tensor, window: Tensor) -> Tensor:
        length = len(window)
        return real_fft(
            F.pad(x, (length // 2, length // 2)).unfold(-1, length, length // 4) * window
        )


class Buzz(nn.Module):
    """Difference between the amplitude modulation of high bands and that of the original's, at all
    pitch frequencies and above all at the rates of packets and frames.

    At low rates a decoder tends to answer noise with a pattern that repeats with every packet. A
    spectral distortion does not see it in any single window, the ear hears a buzz. Batches are
    judged as a whole, because the modulation of one segment of noise varies too much.
    """

    def __init__(self, sample_rate: int, packet: int) -> None:
        super().__init__()
        self.hop = sample_rate // ENVELOPE_RATE
        self.packet_hz = sample_rate / packet
        self.register_buffer("window", unit_window(2 * self.hop), persistent=False)
        weights = torch.tensor([1.0, *[FRAME_RATES_COUNT] * JUDGED_MULTIPLES])
        self.register_buffer("weights", weights / weights.sum(), persistent=False)

    def forward(self, output: Tensor, reference: Tensor) -> Tensor:
        """output and reference [B, T], aligned -> scalar: mean square of the difference in nepers
        of power.

        Both signs count: a batch is a noisy sample, and a loss that punishes only too much
        modulation drives it below the original's.
        """
        with torch.no_grad():
            meant = self._swing(reference)
        difference = (self._swing(output) - meant).square().mean(0)
        cost: Tensor = (difference * self.get_buffer("weights")).sum()
        return cost

    def _swing(self, x: Tensor) -> Tensor:
        """[B, T] -> log of the power of the envelopes' modulation relative to their means, over
        all of SWINGS_HZ, at the packet rate and at the frame rate, [bands, 3].
        """
        window = self.get_buffer("window")
        power = real_fft(x.unfold(-1, len(window), self.hop) * window).square().sum(-1)
        hz = torch.arange(power.shape[-1], device=x.device) * (ENVELOPE_RATE / 2)
        bands = [power[..., (hz >= low) & (hz < high)].sum(-1) for low, high in BUZZ_BANDS_HZ]
        envelope = (torch.stack(bands, 1) + 1e-8).sqrt()
        envelope = envelope / envelope.mean((0, 2), keepdim=True).clamp_min(1e-4)
        envelope = (envelope - envelope.mean(2, keepdim=True))[..., : envelope.shape[2] // 2 * 2]
        swing = real_fft(envelope * unit_window(envelope.shape[2]).to(x)).square().sum(-1).mean(0)
        rate = torch.arange(swing.shape[-1], device=x.device) * (ENVELOPE_RATE / envelope.shape[2])
        everywhere = swing[:, (rate > SWINGS_HZ[0]) & (rate < SWINGS_HZ[1])].mean(1, keepdim=True)
        multiples = torch.arange(1, JUDGED_MULTIPLES + 1, device=x.device) * self.packet_hz
        # In segments below a third of a second bins are wider than that; then the nearest counts.
        width_hz = max(SWING_WIDTH_HZ, ENVELOPE_RATE / envelope.shape[2] / 2)
        near = ((rate - multiples[:, None]).abs() <= width_hz).to(x)
        at = swing @ (near / near.sum(1, keepdim=True)).T
        return torch.log(torch.cat([everywhere, at], 1) + 1e-6)


class Repetition(nn.Module):
    """Difference between a sound's autocorrelation and that of the original, at lags of a half to
    two packets, in bands above 1.5 kHz.

    A decoder that knows nothing but the envelope of a noise plays the same wave in every packet.
    Spectra of single windows do not show it, so neither distortion nor metrics see it; the ear
    hears a rattle at 50 Hz.
    """

    def __init__(self, sample_rate: int, packet: int) -> None:
        super().__init__()
        # long enough that windows two packets apart still have half in common
        length = 1 << (6 * packet - 1).bit_length()
        window = unit_window(length)
        # windows are padded to twice their length
        hz = torch.arange(length + 1) * sample_rate / (2 * length)
        lags = torch.tensor([packet // 2, packet, 3 * packet // 2, 2 * packet])
        alike = torch.cos(math.pi * lags[:, None] * torch.arange(length + 1) / length)
        reach = torch.stack(
            [(window[lag:] * window[: length - lag]).sum() for lag in lags.tolist()]
        )
        bands = torch.stack(
            [(hz >= low) & (hz < high) for low, high in REPETITION_BANDS_HZ]
        ).float()
        self.length = length
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("bands", bands.T.contiguous(), persistent=False)  # [bins, bands]
        weights = bands[:, None] * alike / reach[:, None]
        # [bins, bands * lags]
        self.register_buffer("lagged", weights.flatten(0, 1).T.contiguous(), persistent=False)

    def forward(self, output: Tensor, reference: Tensor) -> Tensor:
        """output and reference [B, T], aligned -> scalar: mean square of the difference in
        normalised correlation.
        """
        with torch.no_grad():
            meant = self._alike(reference)
        difference: Tensor = (self._alike(output) - meant).square().mean()
        return difference

    def _alike(self, x: Tensor) -> Tensor:
        """[B, T] -> [B, frames, bands, lags], about -1..1."""
        frames = x.unfold(-1, self.length, self.length // 2) * self.get_buffer("window")
        power = real_fft(F.pad(frames, (0, self.length))).square().sum(-1) / self.length
        energy = power @ self.get_buffer("bands")
        lagged = (power @ self.get_buffer("lagged")).view(*energy.shape, -1)
        alike: Tensor = lagged / (energy[..., None] + QUIET)
        return alike


def _log_mel(power: Tensor, mel: Tensor) -> Tensor:
    return 0.5 * torch.log((power @ mel).clamp_min(1e-9))


def compressed(spectrum: Tensor, power: Tensor) -> Tensor:
    """spectrum [..., 2] with its power [...] -> the same phases, magnitudes to the power of 0.3."""
    return spectrum * (power + 1e-8).pow(COMPRESSION)[..., None]
