"""What stands between a run and a model: noise levels, depths of swells, entropy tables."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from conftest import SMALL, small_vae, voice
from streamcodec import CodecModel
from streamcodec.coding.bitstream import Bitstream
from streamcodec.engines.api import Means
from streamcodec.engines.torch import TorchEngine
from streamcodec.errors import AudioError
from streamcodec_models.config import VaeConfig
from streamcodec_models.vae import VoiceVae
from streamcodec_training import fit_noise, fit_swell, stream
from streamcodec_training.steady_noise import WINDOWS_AND_WIDTHS_HZ, log_band_power, steady_noise
from streamcodec_training.stream import Stream
from streamcodec_training.tables import fit_tables


def test_noise_is_fitted_to_the_level_of_what_was_said() -> None:
    vae = small_vae()
    rng = np.random.default_rng(0)
    hiss = [(0.05 * rng.standard_normal(32_000)).astype(np.float32) for _ in range(6)]
    with torch.no_grad():
        vae.head.bias[: SMALL.bins] -= 30  # nothing but noise is heard of the network
        vae.skip_out.weight.zero_()
    fit_noise.move_levels(vae, hiss, 1.0, rng)
    pcm = torch.from_numpy(hiss[0][None])
    with torch.no_grad():
        vae.comb.control.weight.zero_()
        vae.comb.control.bias[:3] = torch.tensor([-30.0, 0.0, 0.0])
    out = stream.decode(vae, stream.encode(vae, pcm, 0.5))
    power = [
        torch.fft.rfft(x[0, 1_000:31_000]).abs().square()[5_000:14_000].mean() for x in (out, pcm)
    ]
    assert 10 * torch.log10(power[0] / power[1]) == pytest.approx(0, abs=1.0)


def test_recordings_too_faint_for_the_fit_of_noise_are_refused() -> None:
    faint = [np.full(32_000, 1e-4, np.float32)]
    with pytest.raises(AudioError, match="no recording is loud enough"):
        fit_noise.move_levels(small_vae(), faint, 1.0, np.random.default_rng(0))


def test_fitted_tables_code_what_is_sent_in_fewer_bits() -> None:
    vae = small_vae().eval()
    segments = iter([voice(0.4, seed=seed) for seed in range(16)])
    engine = TorchEngine(vae)
    fitted, before = Bitstream(fit_tables(TorchEngine(vae), segments, 12)), Bitstream(vae.tables())
    spent = {"fitted": 0, "before": 0}
    for pcm, level in zip([next(segments) for _ in range(4)], (1, 3, 5, 7), strict=True):
        means, _ = engine.encode(pcm[None], level, engine.initial_encoder_state(1))
        for gain, mean in zip(means.gain_index, means.mean, strict=True):
            one = Means(level, gain[None], mean[None], means.coefficients[:1])
            latents = before.quantise(one)
            spent["before"] += len(before.serialize(latents, level))
            spent["fitted"] += len(fitted.serialize(latents, level))
            assert np.array_equal(
                fitted.parse(fitted.serialize(latents, level), 1, 1, level).y, latents.y
            )
    assert spent["fitted"] < 0.97 * spent["before"]


def test_steady_noise_does_not_flicker_and_does_not_repeat() -> None:
    noise = steady_noise(251 * 160)
    white = torch.randn(len(noise), generator=torch.Generator().manual_seed(1))
    for bands in WINDOWS_AND_WIDTHS_HZ:
        assert log_band_power(noise, *bands).std() < 0.2 * log_band_power(white, *bands).std()
    assert noise.square().mean() == pytest.approx(1.0, abs=1e-3)
    alike = torch.fft.irfft(torch.fft.rfft(noise).abs().square())[1:-1] / len(noise)
    assert alike[:8_000].abs().max() < 0.05


def test_the_noise_swells_as_deep_as_each_quality_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = small_vae(1)
    pcm = [voice(4.0, seed=seed) for seed in range(3)]

    def buzz_db(vae: VoiceVae, pcm: torch.Tensor, coded: Stream, shift: float) -> float:
        return 2.0 * (shift - 4 * (float(coded.quality.mean()) - 0.5)) + fit_swell.WANTED_DB

    monkeypatch.setattr(fit_swell, "buzz_db", buzz_db)
    depth = vae.noise_envelope.depth
    before = depth.weight.clone(), depth.bias.clone()
    wanted = [min(fit_swell.MOST, max(fit_swell.LEAST, 4 * (q - 0.5))) for q in fit_swell.QUALITIES]
    assert fit_swell.move_depth(vae, pcm) == pytest.approx(wanted, abs=0.05)
    batch = torch.from_numpy(np.stack(pcm))
    moved = []
    for quality in fit_swell.QUALITIES:
        hidden, _ = stream.hidden_frames(vae, stream.encode(vae, batch, quality))
        moved.append((depth(hidden) - torch.nn.functional.linear(hidden, *before)).mean().item())
    assert moved == sorted(moved)  # an untrained network hardly says which quality it was
    assert moved[-1] > moved[0] + 0.2


def test_a_deeper_swell_buzzes_more(shipped: CodecModel, speech: NDArray[np.float32]) -> None:
    batch = torch.from_numpy(speech[:96_000].reshape(2, -1))
    vae = shipped.engine.vae
    coded = stream.encode(vae, batch, 0.4)
    depths = [fit_swell.buzz_db(vae, batch, coded, shift) for shift in (-3.0, 0.0, 2.0)]
    assert depths == sorted(depths)
    assert depths[-1] > depths[0] + 2


def test_modulation_is_that_of_the_envelope_at_packet_and_frame_rate() -> None:
    torch.manual_seed(0)
    time_s = torch.arange(64_000) / 16_000
    noise = torch.randn(2, 64_000)
    plain = fit_swell.modulation_db(noise, VaeConfig())
    for column, rate in enumerate((50, 100)):
        more = (
            fit_swell.modulation_db(
                noise * (1 + 0.5 * torch.cos(2 * math.pi * rate * time_s)), VaeConfig()
            )
            - plain
        )
        assert more[:, column].min() > 10
        assert more[:, 1 - column].max() < 6


def test_a_stream_has_the_integers_that_the_bitstream_would_send(
    shipped: CodecModel, speech: NDArray[np.float32]
) -> None:
    """By error and bits; plain rounding would send others."""
    vae, level = shipped.engine.vae, 6
    pcm = speech[: 16_000 // 320 * 320]
    coded = stream.encode(vae, torch.from_numpy(pcm)[None], vae.config.level_qualities[level])
    engine = TorchEngine(vae)
    means, _ = engine.encode(pcm[None], level, engine.initial_encoder_state(1))
    sent = Bitstream(vae.tables()).quantise(means).y[:, 0]
    unlike = (coded.y[0].numpy() != sent).mean()
    assert unlike < 0.5 * (np.round(means.mean[:, 0]) != sent).mean()
