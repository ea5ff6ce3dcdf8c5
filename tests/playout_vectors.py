"""What the playout and what belongs to it answer, as vectors: the TypeScript of the browser page
(web/src/playout) must answer the same. `python tests/playout_vectors.py` writes
tests/golden/playout.json anew; tests/playout_vectors.mjs replays it.

A timeline's calls are lists: "r" receive, "c" recover, "p" poll, "s" statistics, "end", "resume".
Times in ms have three decimals, so that both sides calculate with the same doubles.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from playout_networks import NETWORKS, RESET, SAMPLES_PER_MS, Call, Network
from streamcodec.live.adaptive import AdaptivePlayout
from streamcodec.live.delay import DelayTarget
from streamcodec.live.loss_fade import LossFade
from streamcodec.live.network_quality import (
    ArrivalStatistics,
    mean_opinion,
    transmission_rating,
)
from streamcodec.live.playout import Conceal
from streamcodec.live.sequence import SequenceLedger
from streamcodec.live.speed import SpeedControl
from streamcodec.live.timescale import TimeScaler
from streamcodec.wire.packet import SEQUENCE_MODULUS, Flags
from streamcodec.wire.redundancy import Copy
from streamcodec_client.audio.level import LevelMeter

FILE = Path(__file__).parent / "golden" / "playout.json"
RATE = 16_000
PACKET = 320
STATISTICS_EVERY = 250  # calls of a timeline
KEPT_SAMPLES = 16  # of sound, one of so many is written down


def timeline(network: Network, seed: int) -> list[Call]:
    """The calls, at the pace at which their answers are played. Each has its time in ms second."""
    playout = AdaptivePlayout(packet_ms=network.packet_ms, samples_per_ms=SAMPLES_PER_MS)
    calls: list[Call] = []

    def make(call: Call) -> Any:
        calls.append(call)
        if len(calls) % STATISTICS_EVERY == 0:
            calls.append(["s", call[1]])
        return answer(playout, call)

    events, now = network.calls(seed), 0.0
    while now < network.seconds * 1000 + 200:
        while events and events[0][0] <= now:
            at, its_calls = events.pop(0)
            for name, *rest in its_calls:
                make([name, at, *rest])
        played = make(["p", now])
        if played is None:
            now = round(now + 10, 3)
        else:
            speed = played[2] if isinstance(played, list) else 1.0
            now = round(now + network.packet_ms / speed, 3)
    return [*calls, ["s", now]]


def answer(playout: AdaptivePlayout, call: Call) -> Any:
    """Of "r": arrival. Of "c": whether it was kept. Of "p": None; the number of what is concealed;
    or [number, waited ms, speed, flags, follows, capture time, is a copy]. Of "s": statistics.
    """
    name, now, *rest = call
    if name == "r":
        sequence, capture_time, flags = rest
        payload = bytes([sequence & 255, 0])
        return playout.receive(sequence, capture_time, payload, Flags(flags), now).value
    if name == "c":
        sequence, capture_time = rest
        return playout.recover(Copy(sequence, capture_time, bytes([sequence & 255, 1])), now)
    if name == "p":
        event = playout.poll(now)
        if event is None or isinstance(event, Conceal):
            return event and event.sequence
        assert event.payload[0] == event.sequence & 255
        return [
            event.sequence,
            round(event.waited_ms, 3),
            round(event.speed, 9),
            int(event.flags),
            int(event.follows),
            event.capture_time,
            event.payload[1],
        ]
    if name == "s":
        counts = dataclasses.astuple(playout.statistics())
        return [round(count, 6) for count in counts] + [int(playout.drained)]
    return getattr(playout, name)()


def replayed(packet_ms: int, calls: list[Call]) -> list[Any]:
    playout = AdaptivePlayout(packet_ms=packet_ms, samples_per_ms=SAMPLES_PER_MS)
    return [answer(playout, call) for call in calls]


def ledger(calls: list[list[int]]) -> list[list[Any]]:
    """Of [number, flags] each: [unwrapped, verdict, missing number of the one three before]."""
    kept = SequenceLedger(20)
    answers: list[list[Any]] = []
    for sequence, flags in calls:
        number, verdict = kept.enter(sequence, Flags(flags))
        answers.append([number, verdict.value, kept.missing((sequence - 3) % SEQUENCE_MODULUS)])
    return [*answers, [kept.received, kept.lost, kept.duplicates, kept.restarts]]


def ledger_calls() -> list[list[int]]:
    rng = np.random.default_rng(1)
    number, calls = SEQUENCE_MODULUS - 30, []
    for _ in range(400):
        number += int(rng.choice([1, 1, 1, 1, 1, 2, 3, -2, 0, 25, -30, 70_000]))
        flags = RESET if rng.random() < 0.1 else 0
        calls += [[number % SEQUENCE_MODULUS, flags]]
    return calls


def delay_target(arrivals: list[list[float]]) -> list[list[Any]]:
    """Of [media ms, now ms] each: [target, outage, baseline], exact."""
    target = DelayTarget(packet_ms=20, min_ms=20, max_ms=360)
    answers: list[list[Any]] = []
    for media_ms, now_ms in arrivals:
        target.arrived(media_ms, now_ms)
        answers.append([target.ms, int(target.outage), target.baseline_ms])
    return answers


def delay_arrivals() -> list[list[float]]:
    rng = np.random.default_rng(2)
    media = 60 * np.arange(400)
    late = rng.exponential(15, 400) + np.where((media > 9_000) & (media < 10_000), 500, 0)
    at = np.maximum.accumulate(media + late + np.where(media > 14_000, 80, 0))
    return [[float(m), round(float(a), 3)] for m, a in zip(media, at, strict=True)]


def speeds(waits: list[list[float]]) -> list[float]:
    """Of [error ms, waited ms] each."""
    control = SpeedControl()
    return [round(control.next(*wait), 9) for wait in waits]


def speed_waits() -> list[list[float]]:
    rng = np.random.default_rng(3)
    errors = np.cumsum(rng.normal(0, 5, 300))
    waits = np.maximum(0, rng.normal(40, 25, 300))
    return [[round(float(e), 3), round(float(w), 3)] for e, w in zip(errors, waits, strict=True)]


def ratings(pairs: list[list[float]]) -> list[list[float]]:
    """Of [delay ms, share lost] each: [rating, mean opinion score]."""
    rated = [transmission_rating(*pair) for pair in pairs]
    return [[round(r, 9), round(mean_opinion(r), 9)] for r in rated]


def arrival_statistics(ppm: float) -> list[list[float | None]]:
    """Jitter and drift after each 500 packets, whose lateness is a formula."""
    arrivals, answers = ArrivalStatistics(), []
    for n in range(3_000):
        arrivals.arrived(20.0 * n, 20.0 * n * (1 + ppm * 1e-6) + (n * 7_919 % 13) * 0.5)
        if n % 500 == 499:
            drift = arrivals.drift_ppm
            answers += [[round(arrivals.jitter_ms, 6), drift and round(drift, 4)]]
    return answers


def sines(channels: list[list[list[float]]], begin: int, samples: int) -> np.ndarray:
    """[samples, C] from sample `begin` on, of [Hz, amplitude] each in each channel."""
    n = np.arange(begin, begin + samples)
    planes = [sum(a * np.sin(2 * np.pi * hz * n / RATE + hz) for hz, a in c) for c in channels]
    return np.asarray(planes, np.float32).T


def written(pcm: np.ndarray) -> list[Any]:
    """Length, and one of KEPT_SAMPLES samples of each channel."""
    return [len(pcm), *(round(float(x), 5) for x in pcm[::KEPT_SAMPLES].T.ravel())]


def time_scaler(channels: list[list[list[float]]], its_speeds: list[float]) -> list[Any]:
    scaler = TimeScaler(RATE)
    return [
        written(scaler.scale(sines(channels, PACKET * n, PACKET), speed))
        for n, speed in enumerate(its_speeds)
    ]


def loss_fade(channels: list[list[list[float]]], calls: list[Call]) -> list[Any]:
    """Packets are marked as speech: nothing is learnt, and the comfort noise is silence."""
    fade = LossFade(RATE, len(channels), PACKET)
    answers = []
    for n, (name, *rest) in enumerate(calls):
        pcm = sines(channels, PACKET * n, PACKET)
        if name == "packet":
            flags, restarts, substitute = rest
            out = fade.packet(
                pcm, Flags(flags), restarts=bool(restarts), substitute=bool(substitute)
            )
            fade.heard(out)
        elif name == "concealed":
            out = fade.concealed(pcm)
            fade.heard(out)
        else:
            out = getattr(fade, name)(*rest)
        state = [fade.lost_ms, int(fade.continues), int(fade.silent)]
        answers.append([*state, *(written(out) if out is not None else [])])
    return answers


def noise_powers(channels: list[list[list[float]]], pause: bool, begin: int) -> list[float]:
    """In dB, of each channel: power of a second of comfort noise, in a pause or after a loss, from
    the packet `begin` on; and of the differences of neighbouring samples, which says where in the
    spectrum it is.
    """
    fade = LossFade(RATE, len(channels), PACKET, np.random.default_rng(4))
    for n in range(100):
        flags = Flags.DTX if pause and n == 99 else Flags(0)
        fade.packet(sines(channels, PACKET * n, PACKET), flags, restarts=False)
    pcm = np.concatenate([fade.background(PACKET) for _ in range(begin + 50)])[begin * PACKET :]
    powers = [np.mean(pcm**2, 0), np.mean(np.diff(pcm, axis=0) ** 2, 0)]
    return [round(float(x), 2) for x in 10 * np.log10(np.transpose(powers).ravel())]


def levels(blocks: list[list[list[float]]]) -> list[list[float]]:
    """Of [Hz, amplitude] in each channel of each block of 10 ms: [rms dB, peak dB, clipping,
    silent s].
    """
    meter, answers = LevelMeter(RATE), []
    for n, block in enumerate(blocks):
        meter.add(sines([[part] for part in block], 160 * n, 160))
        level = meter.level
        decibels = [round(level.db, 4), round(level.peak_db, 4)]
        answers.append([*decibels, int(level.clipping), round(level.silent_s, 6)])
    return answers


VOICE, DTX = int(Flags.VOICE), int(Flags.DTX)
VOICED = [[131.0, 0.2], [262.0, 0.15], [393.0, 0.1], [1_310.0, 0.05]]
ROUGH = [[hz, 0.04] for hz in (211.0, 337.0, 523.0, 811.0, 1_277.0, 1_999.0, 3_119.0, 4_909.0)]
NOISY = [[float(150 + hz * hz % 7_001), 0.02] for hz in range(97, 4_000, 83)]
QUIET = [[173.0, 0.006], [1_117.0, 0.004]]
HIGHER = [[hz * 1.4, amplitude / 2] for hz, amplitude in VOICED]
FAINT = [[hz, amplitude / 10] for hz, amplitude in NOISY]
SPEEDS = [1.12] * 20 + [1.3] * 10 + [1.0, 0.85] * 2 + [0.85] * 20 + [1.12] * 5
FADES: list[Call] = [
    *[["packet", VOICE, 0, 0]] * 3,
    *[["concealed"]] * 2,
    ["packet", VOICE, 0, 0],
    ["packet", VOICE, 1, 0],
    *[["concealed"]] * 9,
    *[["background", 160]] * 3,
    ["packet", VOICE, 1, 0],
    ["packet", VOICE, 1, 1],
    ["packet", VOICE, 0, 0],
    ["packet", VOICE | DTX, 0, 0],
    *[["background", 160]] * 3,
    ["packet", VOICE, 0, 0],
    ["packet", VOICE | DTX, 0, 0],
    ["end_pause"],
    ["background", 160],
    ["concealed"],
    *[["background", 8_000]] * 9,
    ["packet", VOICE, 0, 0],
    ["silence", 160],
]


ANSWERS: dict[str, Callable[..., Any]] = {
    "timelines": replayed,
    "ledger": ledger,
    "delay_target": delay_target,
    "speeds": speeds,
    "ratings": ratings,
    "arrival_statistics": arrival_statistics,
    "time_scaler": time_scaler,
    "loss_fade": loss_fade,
    "noise_powers": noise_powers,
    "levels": levels,
}


def arguments() -> dict[str, dict[str, list[Any]]]:
    """What each function of ANSWERS is given, by case."""
    delays_ms, shares = (0.0, 100.0, 177.4, 400.0, 4_000.0), (0.0, 0.01, 0.3)
    sounds = {
        "voiced": [VOICED],
        "rough": [ROUGH],
        "noisy": [NOISY],
        "quiet": [QUIET],
        "two voices": [VOICED, HIGHER],
        "a voice at one side": [QUIET, VOICED],
    }
    amplitudes = [0.3] * 5 + [1.0] * 2 + [1e-5] * 180 + [0.01] * 3
    return {
        "timelines": {
            name: [network.packet_ms, timeline(network, zlib.crc32(name.encode()))]
            for name, network in NETWORKS.items()
        },
        "ledger": {"jumps": [ledger_calls()]},
        "delay_target": {"stalls": [delay_arrivals()]},
        "speeds": {"random walk": [speed_waits()]},
        "ratings": {"grid": [[[ms, share] for ms in delays_ms for share in shares]]},
        "arrival_statistics": {"fast": [-80.0], "slow": [200.0]},
        "time_scaler": {name: [channels, SPEEDS] for name, channels in sounds.items()},
        "loss_fade": {"speech": [[VOICED], FADES], "two voices": [[VOICED, HIGHER], FADES]},
        "noise_powers": {
            "loss": [[NOISY], False, 1],
            "dead line": [[NOISY], False, 175],
            "pause": [[NOISY], True, 1],
            "dark": [[VOICED], True, 1],
            "loss in stereo": [[NOISY, FAINT], False, 1],
            "pause in stereo": [[FAINT, VOICED], True, 1],
        },
        "levels": {
            "steps": [[[[440.0, amplitude]] for amplitude in amplitudes]],
            "stereo": [[[[440.0, 0.1], [440.0, amplitude]] for amplitude in amplitudes]],
        },
    }


def vectors() -> dict[str, Any]:
    return {
        part: {
            name: {"arguments": given, "answers": ANSWERS[part](*given)}
            for name, given in cases.items()
        }
        for part, cases in arguments().items()
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors(), separators=(",", ":")) + "\n")
