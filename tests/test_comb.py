"""The pitch comb: finds periods, removes what does not repeat with them, looks only at the past,
and gives the same result in parts as in one pass.
"""

import math

import pytest
import torch
from torch import Tensor

from streamcodec_models.comb import PitchComb

RATE, HOP, DIM = 16_000, 160, 8


def comb() -> PitchComb:
    """Untrained: its controls do not depend on the hidden frames, which are zero."""
    torch.manual_seed(0)
    return PitchComb(RATE, HOP, DIM)


def buzz(hz: float, seconds: float = 1.0) -> Tensor:
    """A harmonic sound up to 3 kHz, [1, T]."""
    t = torch.arange(int(seconds * RATE)) / RATE
    harmonics = range(1, int(3000 / hz))
    return 0.05 * sum(torch.sin(2 * math.pi * hz * k * t + k * k) for k in harmonics)[None]


def hidden(x: Tensor) -> Tensor:
    return torch.zeros(len(x), x.shape[1] // HOP, DIM)


def snr_db(x: Tensor, wanted: Tensor) -> float:
    half = x.shape[1] // 2  # the first periods have nothing before them
    error = (x - wanted)[:, half:].detach().square().mean()
    return float(10 * torch.log10(wanted[:, half:].square().mean() / error))


@pytest.mark.parametrize("hz", [62.0, 97.3, 150.0, 233.3, 380.0])
def test_it_finds_the_period(hz: float) -> None:
    module, voice = comb(), buzz(hz)
    state, found = module.initial_state(1), []
    for start in range(0, RATE, 2 * HOP):
        part = voice[:, start : start + 2 * HOP]
        _, state = module.step(part, hidden(part), state)
        found.append(state.period)
    # Two or three periods repeat as well as one. A multiple is no mistake where the period is not a
    # whole number of samples and its multiple is nearer to one.
    periods = torch.cat(found)[5:] / (RATE / hz)
    assert (periods - periods.round()).abs().max() * RATE / hz <= 0.4
    assert periods.min() > 0.9
    assert periods.max() < 3.1


@pytest.mark.parametrize("hz", [62.0, 97.3, 150.0, 233.3, 380.0])
def test_noise_between_harmonics_goes_and_the_voice_stays(hz: float) -> None:
    """A period that is wrong by half a sample would damage the voice at 3 kHz, and one that is not
    a multiple of the true one would not take the noise away.
    """
    module, voice = comb(), buzz(hz)
    torch.manual_seed(1)
    noisy = voice + 0.03 * torch.randn(voice.shape)
    state = module.initial_state(1)
    assert snr_db(module.step(voice, hidden(voice), state)[0], voice) > 25
    assert snr_db(module.step(noisy, hidden(noisy), state)[0], voice) > snr_db(noisy, voice) + 1.5


def test_noise_alone_and_silence_pass() -> None:
    module = comb()
    noise = 0.1 * torch.randn(1, RATE)
    assert snr_db(module.step(noise, hidden(noise), module.initial_state(1))[0], noise) > 12
    silence = torch.zeros(1, RATE)
    assert not module.step(silence, hidden(silence), module.initial_state(1))[0].any()


def test_streaming_is_the_offline_pass() -> None:
    module, x = comb(), buzz(140.0) + 0.02 * torch.randn(1, RATE)
    features = torch.randn(1, RATE // HOP, DIM)
    whole, _ = module.step(x, features, module.initial_state(1))
    state, parts = module.initial_state(1), []
    for start in range(0, RATE, 2 * HOP):
        frame = start // HOP
        part, state = module.step(
            x[:, start : start + 2 * HOP], features[:, frame : frame + 2], state
        )
        parts.append(part)
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-6)


def test_it_looks_only_at_the_past() -> None:
    module, x = comb(), buzz(140.0) + 0.02 * torch.randn(1, RATE)
    other = x.clone()
    other[:, 8_000:] = torch.randn(1, RATE - 8_000)
    kept = [module.step(y, hidden(y), module.initial_state(1))[0][:, :8_000] for y in (x, other)]
    assert torch.equal(kept[0], kept[1])


def test_every_parameter_has_a_gradient() -> None:
    module, x = comb(), buzz(140.0)
    out, _ = module.step(x, torch.randn(1, RATE // HOP, DIM), module.initial_state(1))
    out.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_a_hop_that_blocks_do_not_fill_is_refused() -> None:
    with pytest.raises(
        ValueError, match="hop must be a multiple of 80 samples at 16000 Hz, got 100"
    ):
        PitchComb(RATE, 100, DIM)
