import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from conftest import SMALL, small_vae
from streamcodec_models.blocks import CausalBlock, noise_spectra, overlap_add, sine_slopes
from streamcodec_models.config import VaeConfig
from streamcodec_models.entropy import latent_bits
from streamcodec_models.quality_axis import interpolate
from streamcodec_models.vae import VoiceVae
from streamcodec_training.training_pass import TrainingPass

HALF = torch.tensor(0.5)


def test_a_block_is_causal_and_steps_like_it_runs() -> None:
    torch.manual_seed(0)
    block = CausalBlock(8, kernel=5, expansion=2)
    x = torch.randn(2, 30, 8)
    whole, _ = block.step(x, block.initial_state(2))
    state, parts = block.initial_state(2), []
    for start, end in ((0, 1), (1, 4), (4, 20), (20, 30)):
        part, state = block.step(x[:, start:end], state)
        parts.append(part)
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-6)
    changed = x.clone()
    changed[:, 20:] += 1
    assert torch.equal(block.step(changed, block.initial_state(2))[0][:, :20], whole[:, :20])


def test_the_noise_of_the_table_is_one_steady_noise() -> None:
    """Overlap-add gives back the noise its frames were cut from, without a swing at their rate."""
    torch.manual_seed(0)
    spectra = noise_spectra(torch.randn(200 * 160), 240, 160)
    real, imag = spectra.chunk(2, 1)
    assert torch.stack([real[:, 1:-1], imag[:, 1:-1]]).square().mean() == pytest.approx(
        1.0, abs=0.02
    )
    frames = torch.fft.irfft(torch.complex(real, imag), n=240) * sine_slopes(240, 80)
    out, _ = overlap_add(torch.cat([frames, frames[:1]])[None], frames[-1:, 160:])
    power = out[0, : 200 * 160].view(200, 160).square().mean(0)
    assert power[:80].mean() / power[80:].mean() == pytest.approx(1.0, abs=0.1)


def test_slopes_add_up_to_one() -> None:
    frames = sine_slopes(240, 80).expand(1, 9, -1)
    out, tail = overlap_add(frames, frames[:, 0, 160:])
    assert torch.allclose(out, torch.ones_like(out), atol=1e-6)
    assert tail.shape == (1, 80)


def test_encoder_and_decoder_in_pieces_equal_the_whole() -> None:
    vae = small_vae()
    x = torch.randn(2, 20 * SMALL.packet) * 0.1
    quality = torch.rand(2, 20)
    lost = torch.rand(2, 20) < 0.3
    mean, gain, whole, _ = vae.encode(x, quality, vae.initial_encoder_state(2))
    out, _ = vae.decode(mean, gain, quality, lost, vae.initial_decoder_state(2))
    before, after = vae.initial_encoder_state(2), vae.initial_decoder_state(2)
    for start, end in ((0, 3), (3, 4), (4, 11), (11, 20)):
        samples = slice(start * SMALL.packet, end * SMALL.packet)
        packets = slice(start, end)
        y, g, coefficients, before = vae.encode(x[:, samples], quality[:, packets], before)
        assert torch.allclose(y, mean[:, packets], atol=1e-4)
        assert torch.equal(g, gain[:, packets])
        assert torch.allclose(coefficients, whole[:, packets], atol=1e-4)
        part, after = vae.decode(y, g, quality[:, packets], lost[:, packets], after)
        assert torch.allclose(part, out[:, samples], atol=1e-5)


def test_a_lost_packets_latents_are_never_read() -> None:
    vae = small_vae()
    y, gain, quality = (
        torch.randn(1, 6, SMALL.latent_dim),
        torch.full((1, 6), -12.0),
        torch.full((1, 6), 0.5),
    )
    lost = torch.tensor([[False, False, True, True, False, False]])
    out, _ = vae.decode(y, gain, quality, lost, vae.initial_decoder_state(1))
    y[:, 2:4], gain[:, 2:4] = 99.0, 10.0
    assert torch.equal(vae.decode(y, gain, quality, lost, vae.initial_decoder_state(1))[0], out)


def test_loudness_does_not_reach_the_latents_but_through_their_condition() -> None:
    """Gain and shape are split: the linear path of a signal 12 dB louder gives the same latents."""
    vae = small_vae()
    with torch.no_grad():
        vae.to_latent.weight.zero_()
    x = torch.randn(1, 10 * SMALL.packet) * 0.02
    quality = torch.full((1, 10), 0.5)
    quiet, low, _, _ = vae.encode(x, quality, vae.initial_encoder_state(1))
    loud, high, _, _ = vae.encode(x * 4, quality, vae.initial_encoder_state(1))
    assert torch.allclose(quiet, loud, rtol=1e-3, atol=1e-3)
    assert torch.equal(high - low, torch.full_like(low, 8.0))


def test_interpolation_hits_the_knots_and_their_middle() -> None:
    table = torch.tensor([[0.0], [1.0], [4.0]])
    assert interpolate(table, torch.tensor([[0.0, 0.25, 0.5, 1.0]])).flatten().tolist() == [
        0.0,
        0.5,
        1.0,
        4.0,
    ]


def test_latent_bits_are_a_probability() -> None:
    """Summed over all integers, 2^-bits is one."""
    for scale in (0.2, 1.0, 5.0):
        y = torch.arange(-400, 401, dtype=torch.float64)[:, None]
        mass = torch.exp2(-latent_bits(y, torch.full_like(y, scale).log())).sum().item()
        assert mass == pytest.approx(1.0, abs=1e-3)


def test_training_pass_prices_what_it_samples_and_has_gradients_everywhere() -> None:
    vae = small_vae()
    x = torch.randn(4, 8 * SMALL.packet) * 0.1
    lost = torch.zeros(4, 8, dtype=torch.bool)
    lost[0, 3] = True
    quality = torch.tensor([0.1, 0.4, 1.2, 1.9])
    out, bits, prior_loss = TrainingPass(vae)(x, quality, lost, HALF, 2)
    assert out.shape == (2, *x.shape)
    assert not torch.equal(out[0], out[1])
    assert bits.shape == (4, 8)
    assert bits.min() > 0
    assert (prior_loss > 0).tolist() == [False, False, True, True]
    (out.square().mean() + bits.mean() + prior_loss.mean()).backward()
    without = [name for name, p in vae.named_parameters() if p.grad is None]
    assert without == []


def test_lower_quality_costs_fewer_bits() -> None:
    vae = small_vae()
    x = torch.randn(1, 40 * SMALL.packet) * 0.1
    lost = torch.zeros(1, 40, dtype=torch.bool)
    through = TrainingPass(vae)
    costs = [through(x, torch.tensor([q]), lost, HALF).bits.mean().item() for q in (0, 0.5, 0.9)]
    assert costs == sorted(costs)
    with_layer = [
        through(x, torch.tensor([q]), lost, HALF).bits.mean().item() for q in (1.0, 1.5, 2.0)
    ]
    assert with_layer == sorted(with_layer)


def test_the_shape_that_ships_stays_within_its_budget() -> None:
    """At most 5M parameters and, without the waveform layer, 350M multiply-accumulates a second
    (issue 3); the layer adds at most 25M, of which its refinement is 5M (20M were aimed at). All
    products counted as a live packet runs them.
    """
    config = VaeConfig()
    vae = VoiceVae(config)
    assert sum(p.numel() for p in vae.parameters()) <= 5_000_000
    x, quality = torch.zeros(1, config.packet), torch.full((1, 1), 0.5)
    lost = torch.zeros(1, 1, dtype=torch.bool)

    def mmacs(step: Callable[[], object], more: float = 0) -> float:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            step()
        flops = counter.get_total_flops() + more
        return flops / 2 * config.sample_rate / config.packet / 1e6

    transforms = (config.analysis_window, config.frame, config.frame)  # analysis, voice, noise
    ffts = sum(2.5 * n * math.log2(n) for n in transforms) * config.frames_per_packet
    state = vae.initial_decoder_state(1)
    with torch.no_grad():
        y, gain, _, _ = vae.encode(x, quality, vae.initial_encoder_state(1))
        sound, _, _ = vae.base(y, gain, quality, lost, state)
    base = mmacs(lambda: vae.encode(x, quality, vae.initial_encoder_state(1)), ffts)
    base += mmacs(lambda: vae.base(y, gain, quality, lost, state))
    assert 300 < base <= 350
    layer = mmacs(lambda: vae.waveform.step(sound, gain, None, state.waveform))
    layer += mmacs(lambda: vae.waveform_prior(y[0], gain[0], quality[0]))
    assert 15 < layer <= 25


@pytest.mark.parametrize(
    "changes",
    [
        {"overlap": 0},
        {"overlap": 200},
        {"latent_dim": 500},
        {"base_levels": 1},
        {"waveform_levels": 1},
        {"waveform_bins": 30},
        {"analysis_window": 100},
    ],
)
def test_impossible_shapes_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be|need"):
        dataclasses.replace(VaeConfig(), **changes)


def test_unknown_configuration_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="attention_heads"):
        VaeConfig.from_dict({"attention_heads": 8})
