"""The waveform layer: its transform over the network's frames, its integers and their prices."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import SMALL, small_vae
from streamcodec.coding.bitstream import Bitstream
from streamcodec.coding.loudness import Loudness
from streamcodec.coding.waveform_prior import IntegerPrior, step_sizes
from streamcodec.config import MAX_PAYLOAD_BYTES
from streamcodec.engines.api import Latents
from streamcodec.engines.torch import TorchEngine
from streamcodec.tables import GAIN_MIN, LOUDNESS_STEP
from streamcodec_models.waveform import UNCODED, Waveform, mdct_basis
from streamcodec_models.waveform_prior import first_step

VAE = small_vae()
TABLES = VAE.tables()
BITSTREAM = Bitstream(TABLES)
LEVEL = SMALL.quality_levels - 3
PACKETS = 12


def stream(packets: int = PACKETS) -> torch.Tensor:
    """Harmonics of a gliding voice, [1, T]."""
    time_s = np.arange(packets * SMALL.packet) / SMALL.sample_rate
    phase = 2 * np.pi * np.cumsum(130 + 40 * time_s) / SMALL.sample_rate
    voice = sum(np.sin(k * phase + k * k) / k for k in range(1, 30))
    return torch.from_numpy((0.1 * voice).astype(np.float32))[None]


def coded(x: torch.Tensor, step: float) -> tuple[list[torch.Tensor], Waveform]:
    """x [1, T] -> what `VoiceVae.decode` takes, with a layer of all bins whose steps are `step`."""
    packets = x.shape[1] // SMALL.packet
    quality = torch.full((1, packets), SMALL.level_qualities[LEVEL])
    encoded = VAE.encode(x, quality, VAE.initial_encoder_state(1))
    y, lost = torch.round(encoded.mean), torch.zeros(1, packets, dtype=torch.bool)
    inputs = [y, encoded.gain_index, quality, lost]
    sound, held, _ = VAE.base(*inputs, VAE.initial_decoder_state(1))
    base = VAE.waveform.base_coefficients(sound, torch.exp2(held / 4))
    residual = encoded.coefficients - VAE.waveform.prediction * base
    values = torch.round(residual / step) * step
    return inputs, Waveform(
        values, torch.full_like(values, step), ~lost, torch.full_like(quality, 0.5)
    )


def below(pcm: np.ndarray, hz: float) -> np.ndarray:
    spectrum = np.fft.rfft(pcm)
    spectrum[np.fft.rfftfreq(len(pcm), 1 / SMALL.sample_rate) > hz] = 0
    return np.fft.irfft(spectrum, len(pcm))


def test_the_transform_is_orthonormal_and_gives_back_what_overlaps() -> None:
    hop, overlap = SMALL.hop, SMALL.overlap
    basis = mdct_basis(hop, overlap, hop).double()
    assert torch.allclose(basis @ basis.T, torch.eye(hop).double(), atol=1e-5)
    x = torch.randn(10 * hop + overlap).double()
    out = torch.zeros_like(x)
    for f in range(10):
        part = slice(f * hop, f * hop + hop + overlap)
        out[part] += (x[part] @ basis.T) @ basis
    assert torch.allclose(out[overlap : 10 * hop], x[overlap : 10 * hop], atol=1e-5)


@torch.no_grad()
def test_fine_steps_give_the_wave_below_the_layers_edge() -> None:
    """Whatever the network says there: it is predicted from or replaced."""
    x = stream()
    inputs, waveform = coded(x, 1e-3)
    out, _ = VAE.decode(*inputs, VAE.initial_decoder_state(1), waveform)
    plain, _ = VAE.decode(*inputs, VAE.initial_decoder_state(1))
    skip = SMALL.packet
    wanted, heard, base = (
        below(t[0].numpy().astype(float), 3_000.0)[skip:-skip]
        for t in (x[:, : -SMALL.overlap], out[:, SMALL.overlap :], plain[:, SMALL.overlap :])
    )
    error, without = np.square(heard - wanted).sum(), np.square(base - wanted).sum()
    # What is left belongs to frames whose sound was expected otherwise than it came.
    assert error < 0.1 * without


@torch.no_grad()
def test_without_the_layer_the_network_is_heard_as_it_is() -> None:
    inputs, _ = coded(stream(), 0.1)
    sound, _, _ = VAE.base(*inputs, VAE.initial_decoder_state(1))
    out, _ = VAE.decode(*inputs, VAE.initial_decoder_state(1))
    assert torch.equal(out, sound.x)


@torch.no_grad()
def test_packet_by_packet_is_the_same_as_all_at_once() -> None:
    inputs, waveform = coded(stream(), 0.2)
    some = torch.arange(PACKETS) % 3 > 0  # also across packets without the layer
    waveform = waveform._replace(
        coded=waveform.coded & some, values=waveform.values * some[None, :, None, None]
    )
    whole, _ = VAE.decode(*inputs, VAE.initial_decoder_state(1), waveform)
    state, pieces = VAE.initial_decoder_state(1), []
    for p in range(PACKETS):
        part = Waveform(*(values[:, p : p + 1] for values in waveform))
        out, state = VAE.decode(*(i[:, p : p + 1] for i in inputs), state, part)
        pieces.append(out)
    assert torch.allclose(torch.cat(pieces, 1), whole, atol=1e-5)


@torch.no_grad()
def test_gradients_are_finite_where_nothing_is_coded() -> None:
    inputs, waveform = coded(stream(), 0.2)
    waveform = waveform._replace(steps=torch.full_like(waveform.steps, UNCODED))
    with torch.enable_grad():
        out, _ = VAE.decode(*inputs, VAE.initial_decoder_state(1), waveform)
        out.square().sum().backward()
    gradient = VAE.waveform.ceiling.grad
    assert gradient is not None
    assert bool(gradient.isfinite().all())


@torch.no_grad()
def test_the_integer_prior_computes_what_the_network_learned() -> None:
    rng = np.random.default_rng(1)
    prior, network = IntegerPrior(TABLES.waveform), VAE.waveform_prior
    y = np.rint(rng.laplace(0, 2, (50, SMALL.latent_dim))).astype(np.int32)
    rise = rng.integers(-20, 20, 50)
    quality = SMALL.level_qualities[LEVEL]
    low, high = SMALL.waveform_base
    base = torch.full((50,), low + (high - low) * (quality - 1))
    prices = network(torch.from_numpy(y).float(), torch.from_numpy(rise).float(), base)
    step = first_step(torch.tensor(quality - 1), SMALL.coarsest_step, SMALL.finest_step)
    for i in range(50):
        got = prior.prices(LEVEL, int(rise[i]), y[i])
        steps = np.repeat(got.step_rows, 4)[: SMALL.waveform_bins] / 8
        assert np.abs(steps - (prices.log_step[i, 0] + step).numpy()).max() < 0.3
        bins = got.rows.shape[1]
        rows = got.rows / 8 - 6
        wanted = (prices.log_scale[i] - prices.log_step[i] - step).numpy()[:, :bins]
        assert np.abs(rows - wanted.clip(-6, 6)).max() < 0.3


def test_steps_are_powers_of_two_in_eighths() -> None:
    rows = np.array([-128, -9, 0, 3, 8, 128])
    assert np.allclose(step_sizes(rows), 2.0 ** (rows / 8), rtol=1e-15)


def layered(level: int, packets: int, channels: int, scale: float, seed: int) -> Latents:
    rng = np.random.default_rng(seed)
    y = np.round(rng.laplace(0, 1, (packets, channels, SMALL.latent_dim))).astype(np.int32)
    gain = rng.integers(GAIN_MIN, GAIN_MIN + 60, (packets, channels)).astype(np.int32)
    y[gain == GAIN_MIN] = 0
    frames, bins = SMALL.frames_per_packet, SMALL.waveform_bins
    residual = rng.laplace(0, scale, (packets, channels, frames, bins)).astype(np.float32)
    loudness = rng.integers(0, 32, channels).astype(np.int32)
    return BITSTREAM.waveform.quantise(Latents(level, gain, y), residual, loudness)


@given(
    st.integers(SMALL.base_levels, SMALL.quality_levels - 1),
    st.integers(1, 3),
    st.integers(1, 2),
    st.sampled_from([0.0, 0.1, 1.0, 5.0]),
    st.integers(0, 99),
)
def test_round_trip(level: int, packets: int, channels: int, scale: float, seed: int) -> None:
    before = layered(level, packets, channels, scale, seed)
    payload = BITSTREAM.serialize(before, level)
    if len(payload) > MAX_PAYLOAD_BYTES:
        return
    after = BITSTREAM.parse(payload, packets, channels, level)
    assert np.array_equal(after.y, before.y)
    assert before.waveform is not None
    assert after.waveform is not None
    for field in dataclasses.fields(before.waveform):
        name = field.name
        assert np.array_equal(getattr(after.waveform, name), getattr(before.waveform, name)), name


def test_what_an_encoder_follows_is_what_a_decoder_hears() -> None:
    """Predictions would drift apart otherwise."""
    engine = TorchEngine(VAE)
    packets = 3
    x = stream(packets).numpy()
    means, _ = engine.encode(x, LEVEL, engine.initial_encoder_state(1))
    latents = BITSTREAM.quantise(means)
    residual, followed = engine.residual(means, latents, engine.initial_decoder_state(1))
    latents, payload = BITSTREAM.encode_waveform(latents, residual, np.array([18], np.int32), LEVEL)
    parsed = BITSTREAM.parse(payload, packets, 1, LEVEL)
    pcm, after = engine.decode(parsed, engine.initial_decoder_state(1))
    for mine, theirs in zip(followed[:-1], after[:-1], strict=True):  # all but the layer's own
        assert _same(mine, theirs)
    assert np.isfinite(pcm).all()
    assert latents.waveform is not None
    assert latents.waveform.q.any()


def _same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        assert isinstance(b, torch.Tensor)
        return torch.allclose(a.float(), b.float(), atol=1e-5)
    assert isinstance(a, tuple)
    assert isinstance(b, tuple)
    return all(_same(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("shift", [-26, -13, 0, 13])
def test_loudness_follows_a_talker_of_any_level(shift: int) -> None:
    """Within 5 s; it holds through pauses, and wanders little while the voice does."""
    rng = np.random.default_rng(0)
    loudness = Loudness()
    named = []
    for second in range(40):
        for _ in range(50):
            talking = rng.random() < 0.7 and second % 10 < 7
            gain = round(float(rng.normal(-16 + shift, 4))) if talking else GAIN_MIN + 3
            loudness = loudness.followed(max(GAIN_MIN, gain))
            named.append(loudness.named)
    settled = np.array(named[250:]) * LOUDNESS_STEP + GAIN_MIN
    assert abs(settled.mean() - (-16 + shift)) < 3
    assert np.ptp(settled) <= 4 * LOUDNESS_STEP
