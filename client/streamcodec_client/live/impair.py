"""--sim-loss, --sim-jitter, --sim-drift: simulates a bad network between the relay and a receiver,
to hear how the receiver copes.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import random
from collections.abc import Callable

from streamcodec.errors import ConfigError
from streamcodec.live.bursts import GilbertElliott
from streamcodec.wire.session import Message, Welcome

from ..clock import Clock
from ..transport.api import TransportListener

BURST_PACKETS = 3.0  # mean length of a loss: 60 ms of short packets
# Standard deviations of jitter that a packet may come early: the base delay makes room for them.
JITTER_REACH = 3.0
# Base delay for negative drift, which shortens it: lasts for eleven minutes at 300 ppm.
HEAD_START_MS = 200.0
MOST_JITTER_MS, MOST_DRIFT_PPM = 500.0, 50_000.0


@dataclasses.dataclass(frozen=True)
class Impairment:
    """loss: share of packets, 0..0.9, in bursts of BURST_PACKETS on average (Gilbert-Elliott).
    jitter_ms: standard deviation of a normally distributed delay; packets overtake each other.
    drift_ppm: how much slower the talker's clock runs than ours. Raises ConfigError.
    """

    loss: float = 0.0
    jitter_ms: float = 0.0
    drift_ppm: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.loss <= 0.9:
            raise ConfigError(f"simulated loss must be 0 to 90 %, got {100 * self.loss:g} %")
        if not 0 <= self.jitter_ms <= MOST_JITTER_MS:
            raise ConfigError(
                f"simulated jitter must be 0 to {MOST_JITTER_MS:g} ms, got {self.jitter_ms:g}"
            )
        if not abs(self.drift_ppm) <= MOST_DRIFT_PPM:
            raise ConfigError(
                f"simulated drift must be within {MOST_DRIFT_PPM:g} ppm, got {self.drift_ppm:g}"
            )

    @property
    def none(self) -> bool:
        return not (self.loss or self.jitter_ms or self.drift_ppm)


class ImpairedListener:
    """A TransportListener in front of another one: passes media on late or not at all, and all the
    rest with the mean delay of media. Event loop only.
    """

    def __init__(
        self,
        target: TransportListener,
        impairment: Impairment,
        clock: Clock,
        call_later: Callable[[float, Callable[[], None]], object] | None = None,
    ) -> None:
        """`call_later(seconds, callback)`: that of the running loop if None."""
        self._target, self._impairment, self._clock = target, impairment, clock
        self._call_later = call_later or (
            lambda seconds, call: asyncio.get_running_loop().call_later(seconds, call)
        )
        self._random = random.Random(impairment.seed)  # noqa: S311 - a simulation
        self._base_ms = JITTER_REACH * impairment.jitter_ms + (
            HEAD_START_MS if impairment.drift_ppm < 0 else 0.0
        )
        self._began_ns: int | None = None
        self._chain = GilbertElliott(impairment.loss, BURST_PACKETS)
        self.lost = 0

    def connected(self, welcome: Welcome, connection: int) -> None:
        self._later(self._base_ms, lambda: self._target.connected(welcome, connection))

    def disconnected(self, reason: str) -> None:
        self._later(self._base_ms, lambda: self._target.disconnected(reason))

    def message(self, message: Message) -> None:
        self._later(self._base_ms, lambda: self._target.message(message))

    def media(self, datagram: bytes, received_ns: int) -> None:
        if self._began_ns is None:
            self._began_ns = received_ns
        if self._impairment.loss and self._chain.lost(self._random.random()):
            self.lost += 1
            return
        drift_ms = self._impairment.drift_ppm * (received_ns - self._began_ns) * 1e-12
        delay_ms = max(
            0.0, self._base_ms + drift_ms + self._random.gauss(0, self._impairment.jitter_ms)
        )
        self._later(delay_ms, lambda: self._target.media(datagram, self._clock.now_ns()))

    def _later(self, delay_ms: float, call: Callable[[], None]) -> None:
        self._call_later(delay_ms / 1000, call)


def from_options(loss_percent: float, jitter_ms: float, drift_ppm: float) -> Impairment | None:
    """-> what the command line asks for; None for an unimpaired network. Raises ConfigError."""
    if not all(map(math.isfinite, (loss_percent, jitter_ms, drift_ppm))):
        raise ConfigError("simulated loss, jitter and drift must be finite numbers")
    impairment = Impairment(loss_percent / 100, jitter_ms, drift_ppm)
    return None if impairment.none else impairment
