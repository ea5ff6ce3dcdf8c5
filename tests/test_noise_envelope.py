"""The envelope of the decoder's noise: rises with each glottal pulse of the voice, keeps the power
of a packet, and gives the same result in parts as in one pass.
"""

import math

import pytest
import torch
from torch import Tensor

from streamcodec_models.noise_envelope import LARGEST_DEPTH, NoiseEnvelope

RATE, HOP, FRAMES, DIM = 16_000, 160, 2, 8
PACKET = HOP * FRAMES


def envelope(depth: float) -> NoiseEnvelope:
    """With one constant depth of modulation, whatever the hidden frames hold."""
    module = NoiseEnvelope(RATE, HOP, FRAMES, DIM)
    with torch.no_grad():
        module.depth.weight.zero_()
        module.depth.bias.fill_(math.log(depth / (LARGEST_DEPTH - depth)) if depth else -torch.inf)
    return module


def factors(module: NoiseEnvelope, voice: Tensor) -> Tensor:
    with torch.no_grad():
        return module.step(
            voice,
            torch.zeros(len(voice), voice.shape[1] // HOP, DIM),
            module.initial_state(len(voice)),
        )[0]


def pulses(hz: float, packets: int = 50) -> Tensor:
    """Decaying pulses, [1, T]."""
    phase = torch.arange(packets * PACKET) * hz / RATE % 1
    return 0.1 * torch.exp(-phase * RATE / hz / 40)[None]


@pytest.mark.parametrize("hz", [75.0, 110.0, 220.0])
def test_noise_swings_with_the_pulses(hz: float) -> None:
    voice = pulses(hz)
    swing = factors(envelope(1.0), voice)
    spectrum = torch.fft.rfft((swing - swing.mean())[0]).abs()
    strongest = int(spectrum.argmax()) * RATE / voice.shape[1]
    assert strongest == pytest.approx(hz, abs=2)
    late = torch.roll(voice, 12, 1)  # pulses are smoothed, which delays them by a millisecond
    correlation = torch.corrcoef(torch.cat([swing, late])[:, PACKET:])[0, 1]
    assert correlation > 0.5


@pytest.mark.parametrize("depth", [0.3, 1.0, 1.4])
def test_power_of_a_packet_stays_what_it_was(depth: float) -> None:
    """At an onset too, where the envelope rises by 60 dB."""
    voice = pulses(120.0) * torch.logspace(-3, 0, 50 * PACKET)
    swing = factors(envelope(depth), voice)
    power = swing.view(-1, PACKET).square().mean(-1)
    assert torch.allclose(power, torch.ones_like(power), atol=0.12)


def test_noise_is_not_modulated_without_depth_or_voice() -> None:
    ones = torch.ones(1, 10 * PACKET)
    assert torch.allclose(factors(envelope(0), pulses(100.0, 10)), ones, atol=0.01)
    assert torch.allclose(factors(envelope(1.0), 0 * ones), ones, atol=0.01)


def test_packets_one_by_one_give_the_same_as_all_at_once() -> None:
    torch.manual_seed(0)
    module = NoiseEnvelope(RATE, HOP, FRAMES, DIM)
    voice, hidden = pulses(90.0, 12).repeat(2, 1), torch.randn(2, 12 * FRAMES, DIM)
    with torch.no_grad():
        whole, _ = module.step(voice, hidden, module.initial_state(2))
        state, parts = module.initial_state(2), []
        for i in range(12):
            part, state = module.step(
                voice[:, i * PACKET :][:, :PACKET], hidden[:, i * FRAMES :][:, :FRAMES], state
            )
            parts.append(part)
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-6)


def test_no_gradient_reaches_the_voice_through_the_envelope() -> None:
    """It would move the voice to where the noise suits it."""
    module, voice = envelope(1.0), pulses(100.0, 4).requires_grad_()
    out, _ = module.step(voice, torch.zeros(1, 4 * FRAMES, DIM), module.initial_state(1))
    out.square().mean().backward()
    assert voice.grad is None
    assert module.depth.bias.grad is not None


def test_a_hop_that_is_no_whole_number_of_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 8 samples"):
        NoiseEnvelope(RATE, 163, FRAMES, DIM)
