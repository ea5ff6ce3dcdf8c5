"""Simulated networks as lists of what arrives when, for tests/playout_vectors.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from streamcodec.live.bursts import GilbertElliott
from streamcodec.wire.packet import SEQUENCE_MODULUS, Flags

SAMPLES_PER_MS = 16
Rng = np.random.Generator
Call = list[Any]
Delays = Callable[[Rng, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Network:
    """delay_ms(rng, sent_ms [N]) -> [N], beyond 40 ms; inf: lost. drift: of the talker's clock, ms
    per ms. first, origin: of sequence numbers and capture times. copies: how many packets back the
    copy lies. twice: share of packets that come twice. pauses: (from, to) in packets, the first of
    them has the DTX flag and the others are not sent. renumber: (packet, by how much the numbers
    jump there, flags), capture times too. held_ms: by how much the packets after a pause are held
    back at first. controls: (at ms, call).
    """

    delay_ms: Delays
    seconds: float = 10
    packet_ms: int = 20
    in_order: bool = True
    drift: float = 0.0
    first: int = 0
    origin: int = 0
    copies: int = 0
    twice: float = 0.0
    pauses: tuple[tuple[int, int], ...] = ()
    renumber: tuple[tuple[int, int, int], ...] = ()
    held_ms: float = 0.0
    controls: tuple[tuple[float, str], ...] = ()

    def calls(self, seed: int) -> list[tuple[float, list[Call]]]:
        """What happens between polls: times, and the calls at them, in order."""
        rng = np.random.default_rng(seed)
        captured = self.packet_ms * np.arange(int(self.seconds * 1000 / self.packet_ms))
        sent = captured * (1 + self.drift)
        at = sent + 40 + self.delay_ms(rng, sent)
        for _, to in self.pauses:
            held = self.held_ms / self.packet_ms
            for n in range(to, min(len(at), to + int(held))):
                at[n] += self.held_ms - (n - to) * self.packet_ms
        if self.in_order:
            finite = np.isfinite(at)
            at[finite] = np.maximum.accumulate(at[finite])
        events = [(ms, [[name]]) for ms, name in self.controls]
        again = rng.random(len(at)) < self.twice
        for n, ms in enumerate(at):
            if np.isfinite(ms) and not any(start < n < end for start, end in self.pauses):
                events.append((round(float(ms), 3), self._packet(n)))
                if again[n]:
                    events.append((round(float(ms) + self.packet_ms, 3), self._packet(n)))
        return sorted(events, key=lambda event: event[0])

    def _packet(self, n: int) -> list[Call]:
        number, flags = self.first + n, 0
        for packet, jump, its_flags in self.renumber:
            number += jump if n >= packet else 0
            flags |= its_flags if n == packet else 0
        flags |= Flags.DTX if any(n == start for start, _ in self.pauses) else 0
        samples = self.packet_ms * SAMPLES_PER_MS
        capture = self.origin + samples * (number - self.first)
        calls: list[Call] = [["r", number % SEQUENCE_MODULUS, capture % SEQUENCE_MODULUS, flags]]
        if self.copies and n >= self.copies:
            earlier = number - self.copies, capture - self.copies * samples
            calls.append(["c", *(counter % SEQUENCE_MODULUS for counter in earlier)])
        return calls


def none(rng: Rng, sent: np.ndarray) -> np.ndarray:
    return np.zeros(len(sent))


def normal(deviation_ms: float) -> Delays:
    return lambda rng, sent: np.maximum(-39.0, rng.normal(0, deviation_ms, len(sent)))


def pareto(rng: Rng, sent: np.ndarray) -> np.ndarray:
    return 10.0 * rng.pareto(2.5, len(sent))


def bursts(share: float, length: float, jitter_ms: float = 0.0) -> Delays:
    def delays(rng: Rng, sent: np.ndarray) -> np.ndarray:
        losses = GilbertElliott(share, length)
        lost = np.array([losses.lost(float(rng.random())) for _ in sent])
        return np.where(lost, np.inf, np.abs(rng.normal(0, jitter_ms, len(sent))))

    return delays


def freeze(seconds: float, before: Delays = none, loses: bool = False) -> Delays:
    """From 4 s on nothing comes for so long; then all at once, or not at all."""

    def delays(rng: Rng, sent: np.ndarray) -> np.ndarray:
        end = 4_000 + 1_000 * seconds
        frozen = (sent >= 4_000) & (sent < end)
        return before(rng, sent) + np.where(frozen, np.inf if loses else end - sent, 0.0)

    return delays


def drain(late_ms: float, pace: float) -> Delays:
    """From 3 s on nothing comes for late_ms; then the backlog, `pace` times as quickly as sent."""
    return lambda rng, sent: np.where(
        sent < 3_000, 0.0, np.maximum(0, late_ms - (1 - 1 / pace) * (sent - 3_000))
    )


def far_too_early(rng: Rng, sent: np.ndarray) -> np.ndarray:
    """More than the buffer holds comes at once, before its time."""
    return np.where((sent >= 3_000) & (sent < 3_600), 3_000 - sent, 0.0)


def unsteady(rng: Rng, sent: np.ndarray) -> np.ndarray:
    """Much jitter, then none, then a network that is slower for good."""
    jitter = np.abs(rng.normal(0, 60, len(sent)))
    return np.where(sent < 2_000, jitter, np.where(sent < 9_310, 0.0, 700.0))


def steps(*changes: tuple[float, float]) -> Delays:
    """(from ms, delay) each."""

    def delays(rng: Rng, sent: np.ndarray) -> np.ndarray:
        delay = np.abs(rng.normal(0, 2, len(sent)))
        for begin, ms in changes:
            delay[sent >= begin] += ms
        return delay

    return delays


RESET, LAST = int(Flags.RESET), SEQUENCE_MODULUS - 200
NETWORKS = {
    "clean": Network(none, 5),
    "numbers wrap": Network(normal(4), 6, first=LAST, origin=SEQUENCE_MODULUS - 50_000),
    "jitter 10 ms": Network(normal(10), in_order=False),
    "jitter 30 ms": Network(normal(30), 14, in_order=False),
    "pareto, in order": Network(pareto, 14),
    "loss bursts": Network(bursts(0.08, 3)),
    "loss bursts, jitter, copies 4 back": Network(bursts(0.1, 3, 8), in_order=False, copies=4),
    "loss, copies 1 back": Network(bursts(0.2, 1.2), 6, copies=1),
    "packets of 60 ms": Network(bursts(0.1, 2, 15), 14, packet_ms=60, copies=2),
    "freeze 0.44 s": Network(freeze(0.44), 6),
    "freeze 1 s": Network(freeze(1)),
    "freeze 5 s": Network(freeze(5), 14),
    "freeze 1 s, lost": Network(freeze(1, loses=True), 6),
    "freeze 3 s, slow drain": Network(drain(3_000, 1.4), 15),
    "freeze 1 s, loss, copies 2 back": Network(freeze(1, bursts(0.2, 1.2)), 6, copies=2),
    "freeze 0.4 s, quick drain": Network(drain(400, 3), 6),
    "far too early": Network(far_too_early, 5),
    "drift": Network(normal(3), drift=0.003),
    "drift backwards, and a freeze": Network(freeze(1), drift=-0.02),
    "pauses": Network(normal(5), pauses=((100, 160), (250, 330), (400, 401)), held_ms=60),
    "a pause on a good link": Network(none, 13, pauses=((560, 600),), held_ms=60),
    "pauses on a lossy link": Network(bursts(0.1, 2, 5), pauses=((120, 200), (300, 340))),
    "mute": Network(
        bursts(0.02, 2, 5),
        pauses=((150, 250),),
        controls=((3_050.0, "end"), (5_010.0, "resume"), (9_500.0, "end")),
    ),
    "restart": Network(normal(5), renumber=((200, -150_000, RESET), (350, 1_000_000, RESET))),
    "restart without a flag": Network(none, 9, renumber=((200, -100, 0), (350, 70_000, 0))),
    "gaps": Network(normal(5), 8, renumber=((150, 40, 0), (300, 400, 0), (301, -400, 0))),
    "duplicates": Network(normal(10), 6, in_order=False, twice=0.3),
    "route change 60 ms": Network(steps((3_000, 60), (7_000, -60))),
    "route change 220 ms": Network(steps((2_000, 220), (9_000, -220)), 12),
    "route change 300 ms": Network(steps((2_000, 300), (9_000, -300)), 12),
    "slower network": Network(steps((3_000, 600)), 6),
    "jitter, none, slower network": Network(unsteady, 12),
}
