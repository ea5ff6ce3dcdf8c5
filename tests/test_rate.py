import numpy as np
import pytest

import streamcodec
from conftest import voice
from streamcodec import CodecModel, StreamEncoder
from streamcodec.coding.rate import (
    CappedBitrate,
    Dither,
    FixedQuality,
    LayerBitrate,
    RateControl,
    TargetBitrate,
    position_for,
    rate_control,
)
from streamcodec.config import CodecConfig
from streamcodec.errors import ConfigError

RATES = [1500.0 * 1.17**level for level in range(16)]


def spend(level: int, busyness: float) -> int:
    """A voice whose packets cost `busyness` times what the level's mean is."""
    return max(1, round(RATES[level] * busyness * 0.02 / 8))


@pytest.mark.parametrize("target", [1_800, 3_000, 6_000, 12_000])
@pytest.mark.parametrize("bias", [0.7, 1.0, 1.4])
def test_ten_seconds_meet_the_target_within_5_percent(target: int, bias: float) -> None:
    """Whatever this voice costs against the mean that the model was calibrated on."""
    control = TargetBitrate(target, RATES, 0.02)
    rng = np.random.default_rng(0)
    sizes = []
    for packet in range(500):
        level = control.next_level()
        busy = bias * (0.4 if packet // 40 % 3 == 0 else 1.2) * rng.lognormal(0, 0.3)
        sizes.append(spend(level, busy))
        control.spent(sizes[-1], level)
    reachable = RATES[0] * bias < target < RATES[-1] * bias
    assert not reachable or sum(sizes) * 8 / 10 == pytest.approx(target, rel=0.05)


def test_silence_saves_no_more_than_a_second() -> None:
    control = TargetBitrate(3_000, RATES, 0.02)
    for _ in range(3000):
        control.spent(1, control.next_level())
    burst = 0
    for _ in range(500):
        level = control.next_level()
        burst += spend(level, 1.0)
        control.spent(spend(level, 1.0), level)
    assert burst * 8 <= 3_000 * (10 + 2)


def test_a_fixed_quality_between_levels_is_met_in_the_mean() -> None:
    control = FixedQuality(0.5, 16)
    levels = [control.next_level() for _ in range(100)]
    assert set(levels) == {7, 8}
    assert np.mean(levels) == pytest.approx(7.5)


def test_dither_keeps_to_the_ends() -> None:
    dither = Dither(16)
    assert [dither.level(-3.0) for _ in range(5)] == [0] * 5
    assert [dither.level(99.0) for _ in range(5)] == [15] * 5


def test_position_is_monotonic_and_clamped() -> None:
    positions = [position_for(b, RATES) for b in (100, 1_500, 3_000, 6_000, 99_000)]
    assert positions == sorted(positions)
    assert positions[0] == 0.0
    assert positions[-1] == 15.0


@pytest.mark.parametrize("bitrate", [1_200, 3_000, 6_000])
@pytest.mark.parametrize("packet_ms", [20, 60])
def test_no_capped_payload_exceeds_its_share(
    shipped: CodecModel, bitrate: int, packet_ms: int
) -> None:
    pcm = (
        voice(2.0, seed=3)
        + np.random.default_rng(0).standard_normal(32_000).astype(np.float32) * 0.1
    )
    encoder = StreamEncoder(shipped, bitrate_bps=bitrate, capped=True, packet_ms=packet_ms)
    limit = int(bitrate * packet_ms / 1000 / 8)
    sizes = [len(p) for p in streamcodec.encode(pcm, encoder)]
    assert max(sizes) <= limit
    assert np.mean(sizes) > 0.5 * limit


def test_a_capped_stream_climbs_again_when_there_is_room() -> None:
    control = CappedBitrate(6_000, RATES, 0.02)
    for _ in range(50):
        control.spent(15, 0)
    low = control.next_level()
    for _ in range(50):
        level = control.next_level()
        control.spent(min(15, spend(level, 0.5)), level)
    assert control.next_level() > low


def test_a_capped_stream_stays_on_levels_that_exist_and_near_its_start() -> None:
    control = CappedBitrate(1_000, RATES, 0.02)
    for _ in range(20):
        control.spent(3, control.next_level())  # even silence costs more than two bytes
        assert control.next_level() == 0
    control = CappedBitrate(6_000, RATES, 0.02)
    start = control.next_level()
    for _ in range(50):
        control.spent(2, control.next_level())  # a long silence
    assert control.next_level() <= start + 3


@pytest.mark.parametrize("bitrate", [3_000, 6_000, 12_000])
def test_speech_meets_its_rate_through_the_shipped_model(
    shipped: CodecModel, speech: np.ndarray, bitrate: int
) -> None:
    pcm = speech[: 10 * 16_000]
    payloads = StreamEncoder(shipped, bitrate_bps=bitrate).encode(pcm)
    seconds = len(payloads) * 0.02
    assert sum(map(len, payloads)) * 8 / seconds == pytest.approx(bitrate, rel=0.05)


def jointly_coded(control: LayerBitrate, share: float, packets: int) -> tuple[float, float]:
    """-> bit/s, and the share of packets with the waveform layer, of the last half of a stream
    whose channels cost `share` of what two do.
    """
    sizes, layered = [], []
    for _ in range(packets):
        level = control.next_level()
        sizes.append(round(spend(level, share) * 2))
        layered.append(level >= len(RATES) // 2)
        control.spent(sizes[-1], level)
    half = packets // 2
    return float(np.mean(sizes[half:])) * 8 / 0.02, float(np.mean(layered[half:]))


def test_joint_stereo_has_the_waveform_layer_where_its_channels_leave_room() -> None:
    bitrates = [2 * rate for rate in RATES]
    base, layered = range(8), range(8, 16)
    rate = 1.4 * RATES[8]  # of .7 of what its lowest level costs
    control = LayerBitrate(rate, bitrates, (base, layered), 0.02, joint=True)
    assert control.base_level == 8  # listeners fetch the network for it
    for share, wanted in ((0.55, 1.0), (1.0, 0.0), (0.55, 1.0)):
        spent, with_layer = jointly_coded(control, share, 3_000)
        assert with_layer == wanted
        assert spent <= 1.05 * rate
    control.reset()
    assert control.next_level() < 8  # it begins as the mean does


BASE, LAYERED = RATES[:10], [1.1 * rate for rate in RATES[7:]]


def controlled(**asked: object) -> RateControl:
    wanted = {"bitrate_bps": None, "quality": None, "level": None, "capped": False, **asked}
    config = CodecConfig(16_000, 320, 80, 320)
    return rate_control([*BASE, *LAYERED], len(BASE), config, **wanted)  # type: ignore[arg-type]


def test_a_quality_has_the_waveform_layer_in_all_packets_or_in_none() -> None:
    """Listeners choose the network by the stream's base level."""
    for quality in np.linspace(0, 1, 201):
        control = controlled(quality=float(quality))
        levels = {control.next_level() for _ in range(200)}
        layered = control.base_level >= len(BASE)
        assert all((level >= len(BASE)) is layered for level in levels), quality
        assert control.highest_level >= max(levels)


@pytest.mark.parametrize("capped", [False, True])
@pytest.mark.parametrize("busyness", [0.3, 1.0])
def test_a_stream_has_the_waveform_layer_in_all_packets_or_in_none(
    capped: bool, busyness: float
) -> None:
    """With it from a little above what its lowest level costs; under a cap, from more room on."""
    base, layered = range(10), range(10, 19)
    between = base if capped else layered
    cases = ((3_000, base), (5_300, base), (5_400, between), (5_500, between), (7_000, layered))
    for bitrate, expected in cases:
        control = controlled(bitrate_bps=bitrate, capped=capped)
        for _ in range(300):
            level = control.next_level()
            assert level in expected
            control.spent(round([*BASE, *LAYERED][level] * busyness * 0.02 / 8), level)
        assert control.base_level in expected
        assert control.highest_level in expected


def test_what_costs_more_than_speech_meets_its_rate_without_the_layer() -> None:
    """Music and noise; speech behind it has the layer again."""
    rate, costs = 6_000, [*BASE, *LAYERED]
    control = controlled(bitrate_bps=rate)
    assert control.base_level in range(10, 19)  # listeners fetch the network for it
    for busyness, expected in ((1.0, range(10, 19)), (1.6, range(10)), (1.0, range(10, 19))):
        sizes, levels = [], []
        for _ in range(3_000):
            levels.append(control.next_level())
            sizes.append(round(costs[levels[-1]] * busyness * 0.02 / 8))
            control.spent(sizes[-1], levels[-1])
        assert np.mean([level in expected for level in levels[1_500:]]) > 0.8
        # where the layer goes, what was overspent is not paid back in a second of far less
        if busyness > 1:
            without = [level for level in levels if level < 10]
            assert min(without) >= np.median(without) - 2
        assert np.mean(sizes) * 8 / 0.02 == pytest.approx(rate, rel=0.08)


def test_speech_that_borrows_for_seconds_keeps_the_layer() -> None:
    control, costs = controlled(bitrate_bps=6_000), [*BASE, *LAYERED]
    for n in range(3_000):
        level = control.next_level()
        assert level >= 10
        busyness = 1.3 if n % 200 < 100 else 0.6  # two seconds each
        control.spent(round(costs[level] * busyness * 0.02 / 8), level)


def test_quality_climbs_by_what_levels_cost() -> None:
    """Past the highest levels without the layer, which cost more than the lowest with it."""
    levels = [controlled(quality=q).next_level() for q in np.linspace(0, 1, 200)]
    costs = [[*BASE, *LAYERED][level] for level in levels]
    assert costs == sorted(costs)
    assert levels[0] == 0
    assert levels[-1] == 18


def test_a_level_is_kept_and_must_be_one_of_the_models() -> None:
    control = controlled(level=12)
    control.spent(5_000, 12)
    assert control.next_level() == control.base_level == 12
    with pytest.raises(ConfigError, match="level must be 0 to 18, got 19"):
        controlled(level=19)
    with pytest.raises(ConfigError, match="give a level without a bit rate and a quality"):
        controlled(level=3, quality=0.5)


def test_a_payload_below_all_rungs_counts_as_the_lowest() -> None:
    """A capped packet that did not fit is made again at levels that the stream never asks for."""
    control = controlled(bitrate_bps=7_000, capped=True)
    control.spent(5, 4)
    assert control.next_level() >= 10
