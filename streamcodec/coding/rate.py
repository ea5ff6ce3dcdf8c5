"""Which quality level meets a target: pure arithmetic on what was asked for and what was spent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from ..config import CodecConfig, check_number, whole_number
from ..errors import ConfigError

CAPPED_BITRATES_BPS = (1_000, 32_000)  # a limit may lie outside what the model would spend
TOLERANCE = 0.05  # of a target that counts as met
LAYER_ROOM = 1.08  # times what the lowest level with the waveform layer costs
# What joint stereo takes of what two channels cost on their own: in the mean, and at least.
JOINT_COST, LEAST_JOINT_COST = 0.8, 0.52
# What a stream takes of what is stated is measured over so long; what is usual counts as much as
# this before.
COST_MEMORY_S, COST_PRIOR_S = 5.0, 0.6
KIND_MARGIN = 1.06  # between what brings a stream the waveform layer and what takes it away
DEBT_WITHOUT_LAYER_S = 0.5  # from which on a stream that cannot afford the layer loses it
WITHOUT_LAYER_S = 20.0  # then; what it costs shows only where it is tried again
# Of a debt what is kept where the kind changes. Half a second would be paid back in five levels
# less, which are heard; forgiven once in WITHOUT_LAYER_S it is a fortieth of the rate.
DEBT_AFTER_S = 0.1
DEBT_LIMIT_S = 1.0  # how far speech may run ahead of, or behind, its budget
LEVELS_PER_DEBT_SECOND = 10.0
CAPPED_CLIMB_LEVELS = 3.0
LEARNING_RATE = 0.3  # levels a second and relative error


class RateControl(Protocol):
    """Chooses the level of the next payload; `spent` tells what it cost. `budget_bytes` is a hard
    limit where there is one; `base_level` the highest that speech at this rate does not exceed in
    the mean; `highest_level` the highest that is ever chosen.
    """

    budget_bytes: int | None
    base_level: int
    highest_level: int

    def next_level(self) -> int: ...

    def spent(self, size_bytes: float, level: int) -> None: ...

    def reset(self) -> None: ...


class FixedLevel:
    """Always the same, for measurements."""

    budget_bytes: int | None = None

    def __init__(self, level: int, levels: int) -> None:
        level = whole_number("level", level)
        if not 0 <= level < levels:
            raise ConfigError(f"level must be 0 to {levels - 1}, got {level}")
        self.base_level = self.highest_level = level

    def next_level(self) -> int:
        return self.base_level

    def spent(self, size_bytes: float, level: int) -> None:
        """It costs what it costs."""

    def reset(self) -> None:
        """There is nothing to forget."""


class FixedQuality:
    """Constant quality, 0..1. A quality between two levels alternates between them so that the mean
    is met.
    """

    budget_bytes: int | None = None

    def __init__(self, quality: float, levels: int, apart: int | None = None) -> None:
        """apart: levels from this one on do not alternate with those below: a quality between the
        two kinds is the nearer one's.
        """
        check_number("quality", quality)
        if not 0 <= quality <= 1:
            raise ConfigError(f"quality must be 0 to 1, got {quality:g}")
        self._position = quality * (levels - 1)
        if apart is not None and apart - 1 < self._position < apart:
            self._position = float(round(self._position))
        self.base_level = int(self._position)
        self.highest_level = math.ceil(self._position)
        self._dither = Dither(levels)

    def next_level(self) -> int:
        return self._dither.level(self._position)

    def spent(self, size_bytes: float, level: int) -> None:
        """Constant quality spends what it takes."""

    def reset(self) -> None:
        self._dither.reset()


class TargetBitrate:
    """Mean rate, held within a budget of DEBT_LIMIT_S of audio: loud and busy packets may cost
    more, pauses pay for them.

    Proportional on the debt, integral on the position; silence leaves no more than DEBT_LIMIT_S of
    savings behind. debt_s: by how many seconds of the target more was spent than time has passed.
    """

    budget_bytes: int | None = None

    def __init__(
        self, bitrate_bps: float, level_bitrates_bps: Sequence[float], payload_s: float
    ) -> None:
        self._target_bps, self._payload_s = bitrate_bps, payload_s
        self._levels = len(level_bitrates_bps)
        self._start = position_for(bitrate_bps, level_bitrates_bps)
        self.base_level = int(self._start)
        self.highest_level = self._levels - 1
        self._dither = Dither(self._levels)
        self._position, self.debt_s = self._start, 0.0

    def next_level(self) -> int:
        return self._dither.level(self._position - LEVELS_PER_DEBT_SECOND * self.debt_s)

    def spent(self, size_bytes: float, level: int) -> None:
        error_s = size_bytes * 8 / self._target_bps - self._payload_s
        self.debt_s = min(DEBT_LIMIT_S, max(-DEBT_LIMIT_S, self.debt_s + error_s))
        self._position = min(self._levels - 1.0, max(0.0, self._position - LEARNING_RATE * error_s))

    def reset(self) -> None:
        self._position, self.debt_s = self._start, 0.0
        self._dither.reset()


class LayerBitrate:
    """A mean rate with the waveform layer where it fits. Of the two kinds of levels, without it and
    with it, a stream has the one that suits what it has cost so far: joint stereo costs from half
    of two channels to all of it, music and noise up to half as much again as speech. Its base level
    is one with the layer, by which listeners know that they need the network for it.
    """

    budget_bytes: int | None = None

    def __init__(
        self,
        bitrate_bps: float,
        level_bitrates_bps: Sequence[float],
        kinds: tuple[range, range],
        payload_s: float,
        *,
        joint: bool = False,
    ) -> None:
        """kinds: the levels of each, whose rates are those of channels on their own."""
        self._target_bps, self._payload_s, self._kinds = bitrate_bps, payload_s, kinds
        self._bitrates_bps = level_bitrates_bps
        # What the stream takes of these before anything is known of it, and at the least.
        self._usual, self._least = (JOINT_COST, LEAST_JOINT_COST) if joint else (1.0, 1.0)
        # What speech borrows is paid back in pauses: only what is not paid back is too much. How
        # much alike channels are, and so what joint stereo costs, shows at once.
        self._borrows_s = -DEBT_LIMIT_S if joint else DEBT_WITHOUT_LAYER_S
        self._stated_bytes = self._spent_bytes = 0.0  # lately: by level_bitrates_bps, and in fact
        self._wait_s = 0.0  # until the layer may be tried
        self._kept = 0.5 ** (payload_s / COST_MEMORY_S)
        self.reset()
        with_layer = [self._usual * level_bitrates_bps[n] for n in kinds[1]]
        self.base_level = kinds[1][int(position_for(bitrate_bps, with_layer))]
        self.highest_level = kinds[1][-1]

    def next_level(self) -> int:
        return self._levels[self._control.next_level()]

    def spent(self, size_bytes: float, level: int) -> None:
        stated_bytes = self._bitrates_bps[level] * self._payload_s / 8
        self._spent_bytes = self._kept * self._spent_bytes + size_bytes
        self._stated_bytes = self._kept * self._stated_bytes + stated_bytes
        self._control.spent(size_bytes, self._levels.index(level) if level in self._levels else 0)
        self._wait_s -= self._payload_s
        layered, debt_s = self._levels == self._kinds[1], self._control.debt_s
        if layered:
            leaves = debt_s >= self._borrows_s and not self._affords_layer(KIND_MARGIN)
            self._wait_s = WITHOUT_LAYER_S
        else:
            leaves = self._wait_s <= 0 and self._affords_layer(1 / KIND_MARGIN)
        if leaves:
            self._take(self._kinds[0 if layered else 1])
            self._control.debt_s = min(debt_s, DEBT_AFTER_S)

    def reset(self) -> None:
        self._stated_bytes = self._target_bps / self._usual * COST_PRIOR_S / 8
        self._spent_bytes = self._usual * self._stated_bytes
        self._wait_s = 0.0
        self._take(self._kinds[1 if self._affords_layer(1.0) else 0])

    @property
    def _share(self) -> float:
        return float(max(self._least, self._spent_bytes / self._stated_bytes))

    def _affords_layer(self, margin: float) -> bool:
        lowest_bps = self._bitrates_bps[self._kinds[1][0]]
        return self._target_bps * margin > self._share * lowest_bps

    def _take(self, levels: range) -> None:
        bitrates = [self._share * self._bitrates_bps[n] for n in levels]
        self._levels = levels
        self._control = TargetBitrate(self._target_bps, bitrates, self._payload_s)


class CappedBitrate:
    """Every payload fits into its share of a constant link. Feels its way up a level after some
    that left room, down when one did not fit.
    """

    def __init__(
        self, bitrate_bps: float, level_bitrates_bps: Sequence[float], payload_s: float
    ) -> None:
        self.budget_bytes: int | None = int(bitrate_bps * payload_s / 8)
        if self.budget_bytes < 2:
            raise ConfigError(
                f"{bitrate_bps:g} bit/s leaves {self.budget_bytes} bytes a payload: "
                "a capped rate needs at least 2"
            )
        self._levels = len(level_bitrates_bps)
        self._start = position_for(bitrate_bps, level_bitrates_bps)
        self.base_level = int(self._start)
        self.highest_level = self._levels - 1
        self._position = self._start

    def next_level(self) -> int:
        return int(self._position)

    def spent(self, size_bytes: float, level: int) -> None:
        assert self.budget_bytes is not None
        room = 1 - size_bytes / self.budget_bytes
        wanted = level + (self._position - int(self._position)) + 2 * room
        # Silence leaves room without end: what climbs far must come down a network pass a level
        # when speech begins.
        self._position = max(
            0.0, min(self._levels - 1.0, self._start + CAPPED_CLIMB_LEVELS, wanted)
        )

    def reset(self) -> None:
        self._position = self._start


class Rungs:
    """A rate control over some of a model's levels, in ascending order of what they cost."""

    def __init__(self, control: RateControl, levels: Sequence[int]) -> None:
        self._control, self._levels = control, list(levels)
        self.budget_bytes = control.budget_bytes
        self.base_level = self._levels[control.base_level]
        self.highest_level = self._levels[control.highest_level]

    def next_level(self) -> int:
        return self._levels[self._control.next_level()]

    def spent(self, size_bytes: float, level: int) -> None:
        # A payload that did not fit may have been made at a level below all of ours.
        rung = self._levels.index(level) if level in self._levels else 0
        self._control.spent(size_bytes, rung)

    def reset(self) -> None:
        self._control.reset()


class Dither:
    """Real positions on the level axis -> integer levels with the same mean: what rounding left
    over is carried to the next.
    """

    def __init__(self, levels: int) -> None:
        self._top = levels - 1
        self._carry = 0.0

    def level(self, position: float) -> int:
        wanted = min(float(self._top), max(0.0, position))
        level = min(self._top, max(0, math.floor(wanted + self._carry + 0.5)))
        self._carry = min(0.5, max(-0.5, self._carry + wanted - level))
        return level

    def reset(self) -> None:
        self._carry = 0.0


def rate_control(
    level_bitrates_bps: Sequence[float],
    base_levels: int,
    config: CodecConfig,
    *,
    bitrate_bps: float | None,
    quality: float | None,
    level: int | None,
    capped: bool,
) -> RateControl:
    """What was asked for, of a model whose levels from `base_levels` on have the waveform layer;
    level_bitrates_bps are those of one channel. Raises ConfigError.
    """
    if level is not None and (bitrate_bps, quality) != (None, None):
        raise ConfigError("give a level without a bit rate and a quality")
    if level is None and (bitrate_bps is None) == (quality is None):
        raise ConfigError("give either a bit rate or a quality, and not both")
    if capped and bitrate_bps is None:
        raise ConfigError("a capped stream needs a bit rate: a quality knows no limit")
    base, layered = range(base_levels), range(base_levels, len(level_bitrates_bps))
    if level is not None:
        return FixedLevel(level, len(level_bitrates_bps))
    if quality is not None:
        # The lowest levels with the layer cost less than the highest without it, and sound better.
        below = [n for n in base if level_bitrates_bps[n] < level_bitrates_bps[layered[0]]]
        levels = [*below, *layered]
        # A stream of constant quality has the layer in all of its packets or in none (see below).
        return Rungs(FixedQuality(quality, len(levels), len(below)), levels)
    assert bitrate_bps is not None
    checked_bitrate(bitrate_bps, level_bitrates_bps, config, capped=capped)
    bitrates = [rate * config.channels for rate in level_bitrates_bps]
    # Where the layer comes and goes, what it costs (an encoder that follows a decoder) brings
    # little: a stream has it wherever it can, or nowhere. There must be room above its lowest
    # level: some voices cost more than the mean, and under a cap payloads that do not fit go
    # without the layer.
    share = JOINT_COST if config.joint else 1.0
    usual, payload_s = [share * rate for rate in bitrates], config.packet_ms / 1000
    if capped:
        rungs = layered if bitrate_bps > bitrates[base[-1]] else base
        control = CappedBitrate(bitrate_bps, [usual[n] for n in rungs], payload_s)
        return Rungs(control, rungs)
    room = LEAST_JOINT_COST if config.joint else LAYER_ROOM
    if bitrate_bps > room * bitrates[layered[0]]:
        kinds = (base, layered)
        return LayerBitrate(bitrate_bps, bitrates, kinds, payload_s, joint=config.joint)
    return Rungs(TargetBitrate(bitrate_bps, [usual[n] for n in base], payload_s), base)


def checked_bitrate(
    bitrate_bps: float, level_bitrates_bps: Sequence[float], config: CodecConfig, *, capped: bool
) -> None:
    """Raises ConfigError for a stream's rate that its channels cannot meet; `level_bitrates_bps`
    are those of one.
    """
    check_number("bit rate", bitrate_bps)
    channels, low, high = config.channels, level_bitrates_bps[0], level_bitrates_bps[-1]
    if capped:
        # What describes the high band leaves the core its lowest level, or words go first.
        low = max(CAPPED_BITRATES_BPS[0], low if config.high_band else 0)
        high = CAPPED_BITRATES_BPS[1]
    low, high = low * channels, high * channels
    if not low * (1 - TOLERANCE) <= bitrate_bps <= high * (1 + TOLERANCE):
        raise ConfigError(
            f"bit rate must be {low:.0f} to {high:.0f} bit/s "
            f"for {channels} channel{'s'[: channels - 1]}"
            f"{' with the high band' if config.high_band else ''}"
            f"{'' if capped else ' of this model'}, got {bitrate_bps:g}"
        )


def position_for(bitrate_bps: float, level_bitrates_bps: Sequence[float]) -> float:
    """Real position on the level axis whose speech costs `bitrate_bps` in the mean, interpolated on
    a logarithmic rate axis.
    """
    wanted = math.log(bitrate_bps)
    logs = [math.log(b) for b in level_bitrates_bps]
    for level in range(len(logs) - 1):
        if wanted < logs[level + 1]:
            return max(0.0, level + (wanted - logs[level]) / (logs[level + 1] - logs[level]))
    return len(logs) - 1.0
