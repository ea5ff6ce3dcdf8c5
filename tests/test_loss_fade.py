"""What is heard while packets are missing."""

from __future__ import annotations

import numpy as np
import pytest

from listening_room import TARGET_MS, Room, speak
from streamcodec.live.adaptive import DelayBounds
from streamcodec.live.loss_fade import BACKGROUND_MS, LossFade
from streamcodec.units import Pcm
from streamcodec.wire.packet import Flags

NO_FLAGS = Flags(0)
SPLICE = 40  # samples: 2.5 ms at 16 kHz


def constant(level: float, samples: int = 320) -> Pcm:
    return np.full((samples, 1), level, np.float32)


def fade_after(level: float, flags: Flags = NO_FLAGS) -> LossFade:
    """A talker at 16 kHz with packets of 20 ms, of which one at `level` was heard. Its samples are
    constant, marked as voice, so that there is no background: comfort noise is silence.
    """
    fade = LossFade(16_000, 1, 320, np.random.default_rng(0))
    fade.heard(fade.packet(constant(level), flags | Flags.VOICE, restarts=False))
    return fade


def test_a_short_loss_is_what_the_decoder_makes_of_it() -> None:
    fade = fade_after(0.5)
    for lost_ms in (20, 40, 60):
        assert np.array_equal(fade.concealed(constant(0.5)), constant(0.5))
        assert (fade.lost_ms, fade.continues) == (lost_ms, True)


def test_the_decoders_concealment_gives_way_to_comfort_noise_from_60_to_160_ms() -> None:
    fade = fade_after(0.5)
    ends = [float(fade.concealed(constant(0.5))[-1, 0]) for _ in range(9)]
    assert ends == pytest.approx([0.5, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1, 0, 0], abs=0.001)
    assert fade.lost_ms > BACKGROUND_MS
    assert not fade.continues


def test_the_packet_after_a_loss_fades_in_over_a_splice() -> None:
    fade = fade_after(0.5)
    for _ in range(8):
        fade.concealed(constant(0.5))
    back = fade.packet(constant(0.5), NO_FLAGS, restarts=False)[:, 0]
    assert back[0] < 0.001
    assert back[SPLICE // 2] == pytest.approx(0.25, abs=0.01)
    assert (back[SPLICE:] == 0.5).all()
    assert fade.lost_ms == 0


def test_a_decoder_that_was_reset_begins_without_a_step() -> None:
    fade = fade_after(0.5)
    begin = fade.packet(constant(0.0), NO_FLAGS, restarts=True)[:, 0]
    assert begin[0] == 0.5
    assert np.abs(np.diff(begin)).max() < 0.02
    assert not begin[SPLICE:].any()


def test_a_pause_is_no_loss_and_what_is_missing_after_it_is() -> None:
    fade = fade_after(0.0, Flags.DTX)
    fade.background(1_600)
    assert fade.lost_ms == 0
    fade.end_pause()
    fade.background(160)
    # No more than what is missing counts, and the voice of before the pause is not gone on with.
    assert (fade.lost_ms, fade.continues) == (10, False)
    assert not fade.concealed(constant(0.5)).any()
    assert (fade.lost_ms, fade.continues) == (30, False)


def test_before_the_first_packet_nothing_is_lost() -> None:
    fade = LossFade(16_000, 1, 320)
    assert not fade.background(1_600).any()
    assert fade.lost_ms == 0


def test_comfort_noise_fades_to_silence_after_three_seconds() -> None:
    fade, rng = LossFade(16_000, 1, 320, np.random.default_rng(0)), np.random.default_rng(1)
    for level in [0.01] * 50 + [0.5] * 50:  # a background, and a voice above it
        noise = (level * rng.standard_normal((320, 1))).astype(np.float32)
        fade.heard(fade.packet(noise, NO_FLAGS, restarts=False))
    levels = []
    while fade.lost_ms < 4_200:
        levels.append((fade.lost_ms, float(fade.background(1_600).std())))
    steady = np.mean([level for at, level in levels if 300 < at < 2_900])
    assert steady == pytest.approx(0.01, rel=0.2)
    half = [level for at, level in levels if 3_300 < at < 3_600]
    assert np.mean(half) == pytest.approx(steady / 2, rel=0.2)
    assert levels[-1][1] == 0


def test_the_end_fades_out_and_is_silent_then() -> None:
    fade = fade_after(0.5)
    assert not fade.silent
    end = fade.silence(160)[:, 0]
    assert end[0] == 0.5
    assert np.abs(np.diff(end)).max() < 0.02
    assert not end[SPLICE:].any()
    assert fade.silent


def test_digital_silence_has_no_background() -> None:
    fade, rng = LossFade(16_000, 1, 320, np.random.default_rng(0)), np.random.default_rng(1)
    for _ in range(20):
        noise = (0.1 * rng.standard_normal((320, 1))).astype(np.float32)
        fade.packet(noise, NO_FLAGS, restarts=False)
    assert fade.background(320).any()
    fade.forget_background()
    fade.packet(constant(0.0), Flags.DTX, restarts=False)
    assert not fade.background(320).any()


async def test_a_lost_packet_is_concealed(room: Room) -> None:
    room.joins(1)
    heard = await speak(room, 2, lambda: room.says(1, 0.8))
    room.loses(1)
    heard += await room.hears(2)
    heard += await speak(room, 3, lambda: room.says(1, 0.8))
    assert heard[4:12] == [0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.8, 0.8]
    statistics = room.receiver.statistics()
    assert (statistics.lost, statistics.concealed, statistics.late) == (1, 1, 0)


@pytest.mark.parametrize("playout", [TARGET_MS, DelayBounds()])
async def test_a_long_loss_fades_into_comfort_noise_and_out_of_it(
    playout: float | DelayBounds,
) -> None:
    room = Room(playout=playout)
    room.welcome()
    room.joins(1)
    rng = np.random.default_rng(0)

    def faintly() -> None:
        room.says(1, 0.01 * rng.standard_normal())

    await speak(room, 20, faintly)
    await speak(room, 20, lambda: room.says(1, 0.5))
    await room.hears(6)
    lost = await room.pcm(40)  # nothing comes
    assert 0.001 < np.abs(lost[-1_600:]).max() < 0.06
    assert np.abs(np.diff(lost[:, 0])).max() < 0.3
    for _ in range(25):
        room.loses(1)
    assert (await speak(room, 8, lambda: room.says(1, 0.5)))[-1] == 0.5
    await room.close()


async def test_a_dead_line_fades_to_silence() -> None:
    room = Room(playout=DelayBounds())
    room.welcome()
    room.joins(1)
    await speak(room, 30, lambda: room.says(1, 0.1 * np.random.default_rng(0).standard_normal()))
    assert np.abs((await room.pcm(200))[-8_000:]).max() > 0
    assert not (await room.pcm(300))[-8_000:].any()
    await room.close()


async def test_a_bad_payload_is_concealed_and_the_stream_lives_on(room: Room) -> None:
    room.joins(1)
    await speak(room, 3, lambda: room.says(1, 0.8))
    room.says(1, payload=b"garbage")
    heard = await room.hears(4)
    heard += await speak(room, 3, lambda: room.says(1, 0.8))
    assert 0.4 in heard
    assert heard[-1] == 0.8
    assert room.receiver.statistics().bad_payloads == 1


async def test_a_silence_packet_is_silence(room: Room) -> None:
    room.joins(1)
    await speak(room, 3, lambda: room.says(1, 0.5))
    room.says(1, payload=b"", flags=Flags.DTX)
    assert (await room.hears(6))[2:] == [0.5, 0.5, 0, 0]


async def test_in_an_announced_pause_comfort_noise_is_heard_and_nothing_is_concealed(
    room: Room,
) -> None:
    room.joins(1)
    await speak(room, 4, lambda: room.says(1, 0.5, flags=Flags.VOICE))
    await speak(room, 12, lambda: room.says(1, 0.01))
    room.says(1, 0.01, flags=Flags.DTX)
    await room.hears(10)
    background = await room.pcm(100)
    assert 0.003 < np.sqrt(np.mean(background**2)) < 0.03
    assert np.abs(np.diff(background[:, 0])).max() < 0.02  # no click, no hole
    statistics = room.receiver.statistics()
    assert (statistics.concealed, statistics.lost) == (0, 0)
    room.leaves(1)
    assert (await room.hears(4))[-1] == 0
    assert room.receiver.everybody_left


async def test_a_talker_ends_without_a_click(room: Room) -> None:
    room.joins(1)
    await speak(room, 3, lambda: room.says(1, 0.8))
    room.leaves(1)
    heard = await room.pcm(6)
    assert np.abs(np.diff(heard[:, 0])).max() < 0.05
    assert heard[-1, 0] == 0
