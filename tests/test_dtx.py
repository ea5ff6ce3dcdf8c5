"""Discontinuous transmission: silence is not sent, a pause is not taken for loss, and comfort noise
sounds like the background before it.
"""

from __future__ import annotations

import numpy as np
import pytest

from conftest import voice
from fakes import FakeEncoder, ManualClock, fake_info, fake_payload
from streamcodec.live.adaptive import AdaptivePlayout
from streamcodec.live.comfort_noise import ComfortNoise
from streamcodec.live.dtx import DESCRIPTION_MS, HANGOVER_MS, PRE_ROLL_MS, DtxGate
from streamcodec.live.fixed import FixedPlayout
from streamcodec.live.playout import Conceal, Play, PlayoutBuffer
from streamcodec.wire.packet import Flags
from streamcodec_client.audio.blocks import Block
from streamcodec_client.audio.voice_activity import VoiceActivity
from streamcodec_client.live.packetizer import Outgoing, Packetizer

PACKET_MS = 20
RATE = 16_000


def sent(activity: list[bool]) -> list[tuple[int, Flags]]:
    gate = DtxGate[int](PACKET_MS)
    return [out for number, active in enumerate(activity) for out in gate.push(number, active)]


def test_every_packet_of_speech_is_sent() -> None:
    assert sent([True] * 30) == [(n, Flags.VOICE) for n in range(30)]


def test_of_silence_only_descriptions_of_the_background_are_sent() -> None:
    activity = [True] * 10 + [False] * 1_000
    out = sent(activity)[10:]
    hangover = int(HANGOVER_MS / PACKET_MS)
    assert [flags for _, flags in out[:hangover]] == [Flags(0)] * hangover
    described = [number for number, flags in out[hangover:]]
    assert {flags for _, flags in out[hangover:]} == {Flags.DTX}
    assert described[:2] == [10 + hangover, 11 + hangover]
    assert set(np.diff(described[1:])) == {int(DESCRIPTION_MS / PACKET_MS)}
    assert len(described) < 0.2 * 1_000


def test_a_word_is_sent_with_its_pre_roll() -> None:
    out = sent([True] * 10 + [False] * 25 + [True] * 5)
    before = int(PRE_ROLL_MS / PACKET_MS)
    assert out[-5 - before :] == [(n, Flags.VOICE) for n in range(35 - before, 40)]
    numbers = [n for n, _ in out]
    assert numbers == sorted(set(numbers))


def test_a_pause_shorter_than_the_hangover_is_sent() -> None:
    activity = ([True] * 5 + [False] * 12) * 10
    assert [n for n, _ in sent(activity)] == list(range(len(activity)))


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("one_way_jitter_ms", [0.0, 15.0])
@pytest.mark.parametrize("adaptive", [True, False])
def test_a_pause_is_never_taken_for_loss(
    adaptive: bool, one_way_jitter_ms: float, lost: bool
) -> None:
    """Two seconds of speech and three of silence, repeated, over a network that loses nothing, or
    else the first of the two packets that announce each pause.
    """
    buffer: PlayoutBuffer = (
        AdaptivePlayout(packet_ms=20, samples_per_ms=16) if adaptive else FixedPlayout(packet_ms=20)
    )
    rng = np.random.default_rng(1)
    gate, waiting = DtxGate[int](PACKET_MS), list[tuple[float, int, int, Flags]]()
    sequence, before, pauses = 0, Flags(0), 0
    for number in range(3_000):
        for captured, flags in gate.push(number, number * PACKET_MS % 5_000 < 2_000):
            at = number * PACKET_MS + 40 + one_way_jitter_ms * rng.random()
            announces = Flags.DTX in flags and Flags.DTX not in before
            if not (lost and announces):
                waiting.append((at, sequence, captured, flags))
            sequence, before, pauses = sequence + 1, flags, pauses + announces
    total, now, played, concealed, index = sequence, 0.0, [], 0, 0
    waiting.sort()
    while now < 3_000 * PACKET_MS + 500:
        while index < len(waiting) and waiting[index][0] <= now:
            at, sequence, captured, flags = waiting[index]
            buffer.receive(sequence, captured * 320, b"x", flags, at)
            index += 1
        event = buffer.poll(now)
        if isinstance(event, Play):
            played.append(event.sequence)
        concealed += isinstance(event, Conceal)
        now += PACKET_MS / event.speed if isinstance(event, Play) else PACKET_MS if event else 10.0
    settled = [s for s in played if s > 150]
    if adaptive:
        assert concealed <= 2 * pauses * lost
        assert len(settled) >= 0.995 * (total - 151 - pauses * lost)
    else:  # a fixed delay has no time for a pre-roll, and plays what is not late
        assert concealed <= 0.01 * total + 2 * pauses * lost


def test_the_pre_roll_of_a_word_is_played_where_the_delay_is_short() -> None:
    buffer = AdaptivePlayout(packet_ms=20, samples_per_ms=16)
    now = 0.0
    for number in range(50):
        buffer.receive(number, 320 * number, b"x", Flags.DTX if number == 49 else Flags(0), now)
        buffer.poll(now)
        now += 20
    while buffer.poll(now) is not None:
        now += 20
    # A second later: a pre-roll of three packets, and the first active one.
    now += 1_000
    for number in range(4):
        buffer.receive(50 + number, 320 * round(now / 20 - 3 + number), b"x", Flags.VOICE, now)
    heard = [buffer.poll(now + 20 * i) for i in range(4)]
    assert [event.sequence for event in heard if isinstance(event, Play)] == [50, 51, 52, 53]


class Loud:
    """A voice detector that only compares levels."""

    def active(self, pcm: np.ndarray) -> bool:
        assert len(pcm) == 320
        return bool(np.abs(pcm).max() > 0.1)


def packets(levels: list[float]) -> tuple[list[Outgoing], Packetizer]:
    """One packet of each level, captured in blocks of 10 ms."""
    packetizer = Packetizer(FakeEncoder(), fake_info(), RATE, ManualClock(), Loud())  # type: ignore[arg-type]
    out = []
    for number in range(2 * len(levels)):
        pcm = np.full((160, 1), levels[number // 2], np.float32)
        out += packetizer.push(Block(pcm, 160 * number, 10_000_000 * (number + 1)), connection=1)
    return out, packetizer


def test_packets_are_numbered_as_they_are_sent_and_timed_as_they_were_captured() -> None:
    levels = [0.5] * 5 + [0.0] * 30 + [0.5] * 5
    out, packetizer = packets(levels)
    assert [o.packet.sequence for o in out] == list(range(len(out)))
    captured = [o.packet.capture_time // 320 for o in out]
    assert captured[:5] == list(range(5))
    assert captured[-8:] == list(range(32, 40))
    assert [o.packet.payload for o in out] == [fake_payload(levels[c]) for c in captured]
    assert out[0].packet.flags == Flags.RESET | Flags.VOICE
    assert packetizer.silent == len(levels) - len(out) > 0


def test_the_detector_finds_voice_and_ignores_faint_noise() -> None:
    detector = VoiceActivity(RATE, 1)
    rng = np.random.default_rng(0)
    noise = (0.001 * rng.standard_normal((RATE, 1))).astype(np.float32)
    speech = voice(1.0)[:, None]
    blocks = [detector.active(pcm) for pcm in np.split(np.concatenate([noise, speech]), 100)]
    assert sum(blocks[10:50]) <= 4
    assert sum(blocks[50:]) >= 35


def test_the_detector_finds_voice_in_any_channel_and_of_opposite_signs() -> None:
    speech = voice(0.5)
    for left, right in ((speech, -speech), (0 * speech, speech), (speech, 0 * speech)):
        detector = VoiceActivity(RATE, 2)
        blocks = np.split(np.stack([left, right], 1), 50)
        assert sum(detector.active(pcm) for pcm in blocks) >= 35


def test_comfort_noise_has_the_level_and_the_spectrum_of_the_background() -> None:
    rng = np.random.default_rng(0)
    white = rng.standard_normal((RATE, 2)).astype(np.float32)
    dark = np.apply_along_axis(
        lambda x: np.convolve(x, np.ones(8) / 8, "same"), 0, white
    ) * np.array([0.02, 0.005])
    comfort = ComfortNoise(RATE, 2, np.random.default_rng(1))
    assert not comfort.make(100).any()
    for part in np.split(dark.astype(np.float32), 50):
        comfort.learn(part)
    made = np.concatenate([comfort.make(n) for n in (160, 7, 320, RATE)])
    for channel in range(2):
        level_db = 20 * np.log10(made[160:, channel].std() / dark[:, channel].std())
        assert abs(level_db) < 1.5
        low, high = (np.abs(np.fft.rfft(x)) ** 2 for x in (dark[:, channel], made[-RATE:, channel]))
        for a, b in ((0, 1_000), (1_000, 2_000), (2_000, 4_000)):
            assert abs(10 * np.log10(high[a:b].sum() / low[a:b].sum())) < 3


def test_the_end_of_a_word_is_not_learnt_as_background() -> None:
    rng = np.random.default_rng(0)
    comfort = ComfortNoise(RATE, 1, rng)
    loud = 0.3 * rng.standard_normal((800, 1))
    faint = 0.003 * rng.standard_normal((2_400, 1))
    comfort.learn(np.concatenate([loud, faint]).astype(np.float32))
    assert comfort.make(RATE).std() == pytest.approx(0.003, rel=0.3)


def test_the_quietest_parts_between_words_are_learnt_as_background() -> None:
    rng = np.random.default_rng(0)
    comfort = ComfortNoise(RATE, 1, rng)
    for _ in range(6):  # words of 400 ms, 100 ms apart
        for level, samples in ((0.3, 6_400), (0.003, 1_600)):
            comfort.learn((level * rng.standard_normal((samples, 1))).astype(np.float32))
    assert comfort.make(RATE, among_speech=True).std() == pytest.approx(0.003, rel=0.3)


def test_without_any_pause_comfort_noise_is_far_quieter_than_the_speech() -> None:
    rng = np.random.default_rng(0)
    comfort = ComfortNoise(RATE, 1, rng)
    comfort.learn((0.3 * rng.standard_normal((RATE, 1))).astype(np.float32))
    assert comfort.make(RATE, among_speech=True).std() == pytest.approx(0.3 * 0.003**0.5, rel=0.2)


def test_the_background_of_a_long_silence_is_kept() -> None:
    rng = np.random.default_rng(0)
    for flagged in (False, True):  # with a detector, and without
        comfort = ComfortNoise(RATE, 1, rng)
        comfort.learn((0.3 * rng.standard_normal((6_400, 1))).astype(np.float32), voice=flagged)
        for _ in range(50):
            comfort.learn((0.005 * rng.standard_normal((1_600, 1))).astype(np.float32))
        assert comfort.make(RATE, among_speech=True).std() == pytest.approx(0.005, rel=0.2)
