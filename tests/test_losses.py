"""The terms of the training objective, each against sounds whose order it must get right."""

import math

import numpy as np
import pytest
import torch

from conftest import voice
from streamcodec_training.losses import Buzz, Distortion, LoudnessDisturbance, Repetition, real_fft


def test_fft_gradient_is_that_of_pytorch() -> None:
    x = torch.randn(3, 64, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(real_fft, x)


def test_loudness_disturbance_hears_what_a_listener_would() -> None:
    """Nothing for the reference or what lies below the threshold in quiet, more for more noise, and
    the same at any level.
    """
    torch.manual_seed(0)
    loudness, window = (
        LoudnessDisturbance(16_000, 512),
        torch.hann_window(512) / math.sqrt(512 * 0.375),
    )
    speech = torch.randn(2, 16_000) * torch.linspace(0.01, 0.1, 16_000)
    noise = torch.randn(speech.shape)

    def power(x: torch.Tensor) -> torch.Tensor:
        return real_fft(x.unfold(-1, 512, 128) * window).square().sum(-1)

    def disturbance(level: float, gain: float = 1.0) -> float:
        wanted = power(gain * speech)
        return float(loudness(power(gain * (speech + level * noise))[None], wanted).mean())

    assert disturbance(0.0) == disturbance(1e-6) == pytest.approx(0, abs=1e-6)
    assert disturbance(0.0) < disturbance(0.01) < disturbance(0.03) < disturbance(0.1)
    assert disturbance(0.03, gain=0.1) == pytest.approx(disturbance(0.03), rel=1e-3)


def test_one_bad_frame_costs_more_than_its_share() -> None:
    """PESQ remembers the worst of each third of a second."""
    torch.manual_seed(0)
    loudness = LoudnessDisturbance(16_000, 512)
    wanted = torch.rand(1, 160, 257) * 1e-3

    def cost(factors: torch.Tensor) -> float:
        return float(loudness((wanted * factors[None, :, None])[None], wanted))

    once, throughout = torch.ones(160), torch.full((160,), 30.0)
    once[80] = 30.0
    assert cost(torch.ones(160)) == pytest.approx(0, abs=1e-6)
    assert 5 * cost(throughout) / 160 < cost(once) < cost(throughout)


def test_distortion_is_zero_for_the_reference_and_grows_with_the_damage() -> None:
    reference = torch.from_numpy(voice(1.0))[None]
    distortion = Distortion(16_000)
    damage = [
        distortion((reference + level * torch.randn(reference.shape))[None], reference).item()
        for level in (0.0, 0.01, 0.1)
    ]
    assert damage[0] == 0.0
    assert damage == sorted(damage)
    assert damage[1] > 0.01


def test_two_draws_make_right_noise_cheaper_than_silence_or_a_tone() -> None:
    """The energy distance: noise of the right level beats what a single draw's L1 would prefer, and
    a wrong level is seen.
    """
    torch.manual_seed(0)
    reference = 0.1 * torch.randn(4, 16_000)
    distortion = Distortion(16_000)

    def cost(level: float) -> float:
        return distortion(level * torch.randn(2, 4, 16_000), reference).mean().item()

    tone = (0.14 * torch.sin(torch.arange(16_000) * 0.3)).expand(2, 4, -1)
    assert cost(0.1) < cost(0.05) < cost(0.01)
    assert cost(0.1) < cost(0.2)
    assert cost(0.1) < distortion(tone, reference).mean().item()


def test_buzz_hears_what_swings_with_every_packet_above_all() -> None:
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.standard_normal((8, 19_200)).astype(np.float32) * 0.1)
    other = torch.from_numpy(rng.standard_normal((8, 19_200)).astype(np.float32) * 0.1)
    time_s = torch.arange(19_200) / 16_000
    buzz = Buzz(16_000, 320)
    assert buzz(noise, noise) == 0
    natural = buzz(other, noise).item()
    # What swings at another rate counts only as far as it makes the rest of the swings look
    # smaller.
    at_rates, beside = (
        [buzz(other * (1 + 0.4 * torch.cos(2 * math.pi * r * time_s)), noise).item() for r in rates]
        for rates in ((50, 100), (70,))
    )
    assert min(at_rates) > 2 * max(beside) > 2 * natural
    # too little is wrong as well
    assert buzz(noise, other * (1 + 0.4 * torch.cos(2 * math.pi * 50 * time_s))) > 2 * natural
    swinging = (other * (1 + 0.4 * torch.cos(2 * math.pi * 50 * time_s))).requires_grad_()
    buzz(swinging, noise).backward()
    assert swinging.grad is not None
    assert 0 < swinging.grad.norm() < 1e3
    assert buzz(torch.zeros(2, 6_400), torch.zeros(2, 6_400)).isfinite()


def test_repetition_hears_noise_that_is_one_wave_over_and_over() -> None:
    torch.manual_seed(0)
    repetition, noise, other = Repetition(16_000, 320), *torch.randn(2, 4, 16_000) * 0.1
    again = noise[:, :320].repeat(1, 50).requires_grad_()
    assert repetition(noise, noise) == 0
    natural = repetition(other, noise).item()
    assert repetition(again, noise) > 5 * natural
    half = (0.5 * again + 0.5 * other).detach()
    assert natural < repetition(half, noise) < repetition(again, noise)
    repetition(again, noise).backward()
    assert again.grad is not None
    assert again.grad.isfinite().all()
    voice_of_100_hz = (
        torch.sin(2 * math.pi * 100 * torch.arange(16_000) / 16_000 * torch.arange(20, 70)[:, None])
        .sum(0)
        .expand(4, -1)
    )
    # what repeats in the original may
    assert repetition(voice_of_100_hz, voice_of_100_hz * 0.5) < 1e-3
    assert repetition(torch.zeros(2, 6_400), torch.zeros(2, 6_400)) == 0
