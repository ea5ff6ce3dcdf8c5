"""Pitch comb: the decoder's last stage. Each 5 ms of output are drawn towards the sound one pitch
period before them.

Frames of 20 ms with few bits leave noise between the harmonics of a voice. What repeats with the
pitch is voice and what does not is noise, so a weighted mean of two periods keeps the one and
weakens the other. The period is found in the decoded sound itself and costs no bits; how far to
trust it, and with which taps, the network says. Source: the adaptive comb filters of LACE (Buethe
et al. 2023) and, before them, the pitch post-filters of CELP codecs; looks only at the past, so it
adds no delay.

Shapes: B batch, T samples, N blocks of `block` samples, F frames of the decoder's network.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOW_RATE = 4_000  # Hz, at which periods are looked for
HIGHEST_HZ, LOWEST_HZ = 400, 50
BLOCK_S, WINDOW_S, FINE_WINDOW_S = 0.005, 0.025, 0.010
TAPS = 5
FRACTION_TAPS = 5  # of the interpolation between samples: half a sample at 3 kHz is half a radian
LARGEST_SHARE = 0.6  # of the period before in the mean
SHORT_PERIODS_FIRST = 0.1  # two periods resemble each other as well as one does
FEW_BLOCKS = 16
FEW_LAGS = 16  # whose windows at once cost less than an FFT
SILENCE = 1e-6  # energy of a window below which nothing is a pitch


class CombState(NamedTuple):
    """What the comb remembers between packets."""

    history: Tensor  # [B, H] samples before the comb
    period: Tensor  # [B] samples and fractions of one, of the block before
    share: Tensor  # [B]
    taps: Tensor  # [B, TAPS]


class Settings(NamedTuple):
    """Of all blocks."""

    period: Tensor  # [B, N]
    share: Tensor  # [B, N]
    taps: Tensor  # [B, N, TAPS]


class PitchComb(nn.Module):
    """x = y + share * (taps * y one period ago - y), with share and taps from the decoder's hidden
    frames.
    """

    low_pass: Tensor
    fade: Tensor
    convolution: Tensor

    def __init__(self, sample_rate: int, hop: int, dim: int) -> None:
        """`dim`: width of the hidden frames, one each `hop` samples."""
        super().__init__()
        self.decimation = max(1, sample_rate // LOW_RATE)
        step = self.decimation
        # All lengths are whole numbers of low-rate samples.
        self.block = round(BLOCK_S * sample_rate / step) * step
        if hop % self.block:
            raise ValueError(
                f"hop must be a multiple of {self.block} samples at {sample_rate} Hz, got {hop}"
            )
        self.blocks_per_frame = hop // self.block
        self.window = round(WINDOW_S * sample_rate / step) * step
        self.fine_window = round(FINE_WINDOW_S * sample_rate)
        self.shortest = round(sample_rate / HIGHEST_HZ / step) * step
        self.longest = round(sample_rate / LOWEST_HZ / step) * step
        low_pass = torch.hann_window(8 * step + 3, periodic=False)[1:-1]
        self.history = self.longest + self.window - self.block + len(low_pass) - step
        self.register_buffer("low_pass", low_pass / low_pass.sum(), persistent=False)
        rise = torch.ones(self.block)
        rise[: self.block // 2] = (torch.arange(self.block // 2) + 0.5) / (self.block // 2)
        self.register_buffer("fade", rise, persistent=False)
        # Row i * FRACTION_TAPS + j has its one at i + j: the product of two kernels' taps, gathered
        # into their convolution.
        rows = torch.arange(TAPS * FRACTION_TAPS)
        convolution = F.one_hot(
            rows // FRACTION_TAPS + rows % FRACTION_TAPS, TAPS + FRACTION_TAPS - 1
        ).float()
        self.register_buffer("convolution", convolution, persistent=False)
        self.control = nn.Linear(dim, 3 + TAPS)
        with torch.no_grad():
            # Begins as a plain comb that trusts what resembles itself.
            self.control.weight.mul_(0.1)
            self.control.bias.copy_(
                torch.tensor([-5.4, 6.2, 0.0, *(float(i == TAPS // 2) for i in range(TAPS))])
            )

    def initial_state(self, batch: int) -> CombState:
        zeros = self.fade.new_zeros
        return CombState(
            zeros(batch, self.history),
            zeros(batch) + float(self.shortest),
            zeros(batch),
            zeros(batch, TAPS),
        )

    def step(self, y: Tensor, hidden: Tensor, state: CombState) -> tuple[Tensor, CombState]:
        """y [B, T] and hidden [B, F, dim] with T = F * hop -> x [B, T], new state."""
        buffer = torch.cat([state.history, y], 1)
        x, settings = self._comb(buffer, y, hidden, state)
        return x, self._after(buffer, settings)

    def step_with_ahead(
        self, y: Tensor, hidden: Tensor, state: CombState, ahead: Tensor
    ) -> tuple[Tensor, Tensor, CombState]:
        """As `step`. ahead [B, P, A]: samples that are expected behind each of the P packets in T;
        they are returned as the settings of the packet's last block have them, and not remembered.
        """
        buffer = torch.cat([state.history, y], 1)
        x, settings = self._comb(buffer, y, hidden, state)
        return x, self._ahead(ahead, buffer, settings), self._after(buffer, settings)

    def _comb(
        self, buffer: Tensor, y: Tensor, hidden: Tensor, state: CombState
    ) -> tuple[Tensor, Settings]:
        """buffer [B, H + T]: what was heard before y, and y -> x [B, T], settings."""
        period, coarse, fine = self._pitch(buffer.detach())
        bias, trust_coarse, trust_fine, taps = (
            self.control(hidden)
            .float()
            .repeat_interleave(self.blocks_per_frame, 1)
            .split([1, 1, 1, TAPS], -1)
        )
        share = LARGEST_SHARE * torch.sigmoid(
            bias[..., 0] + trust_coarse[..., 0] * coarse + trust_fine[..., 0] * fine
        )
        # Each block fades from the settings of the block before it into its own; both in one go:
        # small steps cost by their number.
        periods, shares, all_taps = (
            torch.stack([torch.cat([first[:, None], values[:, :-1]], 1), values])
            for first, values in ((state.period, period), (state.share, share), (state.taps, taps))
        )
        blocks = y.view(len(y), -1, self.block)
        change = shares[..., None] * (self._period_before(buffer, periods, all_taps) - blocks)
        x = blocks + torch.lerp(change[0], change[1], self.fade)
        return x.flatten(1), Settings(period, share, taps)

    def _after(self, buffer: Tensor, settings: Settings) -> CombState:
        return CombState(buffer[:, -self.history :], *(values[:, -1] for values in settings))

    def _ahead(self, ahead: Tensor, buffer: Tensor, settings: Settings) -> Tensor:
        """ahead [B, P, A], buffer [B, H + T] -> [B, P, A]."""
        batch, packets, length = ahead.shape
        each = settings.period.shape[1] // packets
        period, share, taps = (values[:, each - 1 :: each] for values in settings)
        packet, kept = each * self.block, self.longest + TAPS // 2 + FRACTION_TAPS // 2
        past = buffer[:, self.history + packet - kept :].unfold(1, kept, packet)
        sound = torch.cat([past, ahead], -1).flatten(0, 1)
        whole = period.round()
        kernel = self._kernel(whole - period, taps).flatten(0, 1)
        reach = kernel.shape[-1] // 2
        around = torch.arange(length + 2 * reach, device=ahead.device) - reach + kept
        index = around - whole.long().view(-1, 1)
        before = torch.matmul(
            sound.gather(1, index).unfold(-1, 2 * reach + 1, 1), kernel[..., None]
        )[..., 0].view(batch, packets, length)
        return ahead + share[..., None] * (before - ahead)

    def _kernel(self, offset: Tensor, taps: Tensor) -> Tensor:
        """offset [...] of a period from whole samples, taps [..., TAPS] -> their convolution with
        the interpolation, [..., TAPS + FRACTION_TAPS - 1].
        """
        product = taps[..., None] * _between_samples(offset)[..., None, :]
        return product.flatten(-2) @ self.convolution

    def _period_before(self, buffer: Tensor, period: Tensor, taps: Tensor) -> Tensor:
        """buffer [B, H + T], period [2, B, N], taps [2, B, N, TAPS] -> what was heard one period
        before, [2, B, N, block].
        """
        whole = period.round()
        reach = TAPS // 2 + FRACTION_TAPS // 2
        kernel = self._kernel(whole - period, taps)
        around = torch.arange(self.block + 2 * reach, device=buffer.device) - reach
        start = self.history + self.block * torch.arange(period.shape[-1], device=buffer.device)
        index = (start - whole.long())[..., None] + around
        past = buffer.expand(2, -1, -1).gather(2, index.flatten(2)).view(index.shape)
        if period.shape[-1] <= FEW_BLOCKS:  # live: what costs is the number of operations
            return torch.matmul(past.unfold(-1, 2 * reach + 1, 1), kernel[..., None])[..., 0]
        out = past[..., : self.block] * kernel[..., :1]
        for i in range(1, 2 * reach + 1):
            out = torch.addcmul(out, past[..., i : i + self.block], kernel[..., i : i + 1])
        return out

    @torch.no_grad()
    def _pitch(self, buffer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """buffer [B, H + T] -> period in samples and fractions of one [B, N], and how much each
        block resembles what was one period before it, -1..1, below 1.5 kHz and in full.
        """
        step = self.decimation
        shortest, longest, window = self.shortest // step, self.longest // step, self.window // step
        low = F.conv1d(buffer[:, None], self.low_pass[None, None], stride=step)[:, 0]
        frames = low.unfold(1, longest + window, self.block // step)
        # Longest period first.
        alike = _resemblance(frames[..., : longest - shortest + window], frames[..., longest:])
        periods = torch.arange(longest, shortest - 1, -1, device=buffer.device)
        best = (alike * (1 - SHORT_PERIODS_FIRST * periods / longest)).argmax(-1)
        coarse = alike.gather(-1, best[..., None])[..., 0]
        rough = periods[best] * step

        end = self.history + self.block * (1 + torch.arange(rough.shape[1], device=buffer.device))
        span = torch.arange(self.fine_window, device=buffer.device) - self.fine_window
        now = buffer[:, (end[:, None] + span).flatten()].view(len(buffer), -1, self.fine_window)
        around = (
            torch.arange(self.fine_window + 2 * step, device=buffer.device)
            - self.fine_window
            - step
        )
        index = (end - rough)[..., None] + around
        past = buffer.gather(1, index.flatten(1)).view(index.shape)
        alike = _resemblance(past, now)
        fine, best = alike[..., 1:-1].max(-1)
        # A parabola through the best and its neighbours has its top between samples.
        left, right = (
            alike.gather(-1, best[..., None])[..., 0],
            alike.gather(-1, best[..., None] + 2)[..., 0],
        )
        top = 0.5 * (left - right) / (left - 2 * fine + right).clamp(max=-1e-6)
        period = rough + step - 1 - best - top.clamp(-0.5, 0.5)
        # Of sound that is not finite there is no period. Where it is training that went astray, the
        # loss is to say so, not an index out of bounds, after which a GPU does nothing more.
        period = period.nan_to_num(float(self.shortest))
        return period.clamp(self.shortest, self.longest), coarse, fine


def _between_samples(offset: Tensor) -> Tensor:
    """offset [...] in -0.5..0.5 samples -> weights [..., FRACTION_TAPS] of the samples around:
    cubic convolution (Keys 1981).
    """
    distance = (
        offset[..., None] - torch.arange(FRACTION_TAPS, device=offset.device) + FRACTION_TAPS // 2
    ).abs()
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights: Tensor = torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
    return weights


def _resemblance(past: Tensor, now: Tensor) -> Tensor:
    """Normalised correlation of `now` [..., N, W] with the windows of `past` [..., N, K + W] that
    begin 0..K samples into it, [..., N, K + 1].
    """
    length, window = past.shape[-1], now.shape[-1]
    lags = length - window + 1
    if lags <= FEW_LAGS or past.shape[-2] <= FEW_BLOCKS:
        windows = past.unfold(-1, window, 1)
        dot = torch.matmul(windows, now[..., None])[..., 0]
        energy = windows.square().sum(-1) + SILENCE
    else:
        # By FFT: in training all windows at once would be 70 times the sound.
        size = 1 << (length - 1).bit_length()
        product = torch.fft.rfft(past, n=size) * torch.fft.rfft(now, n=size).conj()
        dot = torch.fft.irfft(product, n=size)[..., :lags]
        total = F.pad(past.square().cumsum(-1), (1, 0))
        energy = (total[..., window:] - total[..., :lags]).clamp_min(0) + SILENCE
    present = now.square().sum(-1, keepdim=True) + SILENCE
    alike: Tensor = dot / (energy * present).sqrt()
    return alike
