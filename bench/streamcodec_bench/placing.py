"""Voices in two channels, made from recordings of one: hardly any speech was recorded in stereo, or
may be used where it was. The rooms are not those that joint stereo was fitted to
(streamcodec_training.joint_stereo): these have reflections, and channels that share some of their
reverberation.

All take a voice [T], another as long, the rate in Hz and a generator -> [T, 2].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from streamcodec.units import Pcm

Place: TypeAlias = Callable[[Pcm, Pcm, int, np.random.Generator], Pcm]

ROOM_S, DECAY_NEPERS = 0.35, 6.9  # reverberation time, to -60 dB
SHARED = 0.4  # correlation of the channels' reverberation
REFLECTIONS, REFLECTED_S = 6, (0.002, 0.04)
REFLECTED_GAIN, WET = (2.0, 6.0), 0.05  # beside reverberation of unit variance; of all of it
NEARER, FURTHER = 20.0, 35.0  # degrees of a voice at a side, and in a room; 45: in the middle
ACROSS = 0.3  # of somebody at one side, in the other channel


def in_the_middle(voice: Pcm, other: Pcm, rate: int, rng: np.random.Generator) -> Pcm:
    """Alike in both."""
    return np.stack([voice, voice], 1)


def at_a_side(voice: Pcm, other: Pcm, rate: int, rng: np.random.Generator) -> Pcm:
    """Alike but for its loudness, which differs by 9 dB."""
    return voice[:, None] * _sides(NEARER if rng.integers(2) else 90 - NEARER)


def in_a_room(voice: Pcm, other: Pcm, rate: int, rng: np.random.Generator) -> Pcm:
    """A little to the left, with reflections and reverberation."""
    count = int(ROOM_S * rate)
    response = rng.standard_normal((count, 2))
    response[:, 1] = SHARED * response[:, 0] + np.sqrt(1 - SHARED**2) * response[:, 1]
    response *= np.exp(-DECAY_NEPERS * np.arange(count) / count)[:, None]
    response[: int(2 * REFLECTED_S[0] * rate)] = 0
    for _ in range(REFLECTIONS):
        at = int(rng.uniform(*REFLECTED_S) * rate)
        response[at] += rng.uniform(*REFLECTED_GAIN) * _sides(rng.uniform(0, 90))
    size = len(voice) + count
    spectrum = np.fft.rfft(voice, size)[:, None] * np.fft.rfft(response, size, axis=0)
    gain = WET * np.sqrt(16_000 / rate)
    reverberation = gain * np.fft.irfft(spectrum, size, axis=0)[: len(voice)]
    placed: Pcm = (voice[:, None] * _sides(FURTHER) + reverberation).astype(np.float32)
    return placed


def beside_another(voice: Pcm, other: Pcm, rate: int, rng: np.random.Generator) -> Pcm:
    """Two who talk at once, one at each side."""
    near, far = np.float32(1), np.float32(ACROSS)
    return np.stack([near * voice + far * other, far * voice + near * other], 1)


def _sides(degrees: float) -> Pcm:
    """Gains of left and right, of which the mean power is 1."""
    angle = np.radians(degrees)
    gains: Pcm = np.sqrt(2) * np.array([np.cos(angle), np.sin(angle)], np.float32)
    return gains


PLACES: dict[str, Place] = {
    "in the middle": in_the_middle,
    "at a side": at_a_side,
    "in a room": in_a_room,
    "beside another": beside_another,
}
