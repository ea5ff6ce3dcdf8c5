"""Impairment laboratory: sends packets through simulated networks into a playout buffer, on a
simulated clock. A seed gives the same network every time.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from streamcodec.errors import ConfigError
from streamcodec.live.adaptive import AdaptivePlayout
from streamcodec.live.bursts import GilbertElliott
from streamcodec.live.delay import NETEQ
from streamcodec.live.fixed import FixedPlayout
from streamcodec.live.playout import Play, PlayoutBuffer
from streamcodec.live.speed import is_fine
from streamcodec.wire.packet import SEQUENCE_MODULUS, Flags, sequence_distance
from streamcodec.wire.redundancy import Copy

PACKET_MS = 20.0
SAMPLES_PER_MS = 16.0
ONE_WAY_MS = 40.0
DRIFTS_PPM = (50, -50, 100, -100, 300, -300)
CAPTURE_WRAP_MS = SEQUENCE_MODULUS / SAMPLES_PER_MS
NO_FLAGS = Flags(0)
COPY = b"copy"  # payload of all copies
IDLE_MS = 10.0  # after which a sink asks again, where nothing was due

Rng = np.random.Generator


@dataclasses.dataclass(frozen=True, slots=True)
class Arrival:
    """A packet that the network delivered. at_ms: by the listener's clock; captured_ms: by the
    talker's, as the packet says. number: not wrapped.
    """

    at_ms: float
    number: int
    captured_ms: float
    flags: Flags = NO_FLAGS


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A network and its clocks.

    delay_ms(rng, sent_ms [N]) -> [N]: delay of each packet beyond ONE_WAY_MS, inf where it is lost.
    in_order: no packet overtakes another, as over TCP. drift_ppm: by how much the talker's clock is
    slow; sink_ppm: the sound sink's. settled_s: figures begin here. copy_distance: how
    many packets back the copy lies that each packet carries. duplicated: share of packets that
    arrive again one packet's time later.
    """

    name: str
    seconds: float
    delay_ms: Callable[[Rng, np.ndarray], np.ndarray]
    in_order: bool = True
    drift_ppm: float = 0.0
    sink_ppm: float = 0.0
    settled_s: float = 5.0
    copy_distance: int = 0
    duplicated: float = 0.0

    def arrivals(self, seed: int = 0) -> list[Arrival]:
        """In the order in which they arrive."""
        rng = np.random.default_rng(seed)
        captured = PACKET_MS * np.arange(int(self.seconds * 1000 / PACKET_MS))
        sent = captured * (1 + self.drift_ppm * 1e-6)
        at = sent + ONE_WAY_MS + self.delay_ms(rng, sent)
        if self.in_order:
            finite = np.isfinite(at)
            at[finite] = np.maximum.accumulate(at[finite])
        came = [
            Arrival(float(a), n, float(c))
            for n, (a, c) in enumerate(zip(at, captured, strict=True))
            if np.isfinite(a)
        ]
        again = rng.random(len(came)) < self.duplicated
        came += [
            dataclasses.replace(a, at_ms=a.at_ms + PACKET_MS)
            for a, twice in zip(came, again, strict=True)
            if twice
        ]
        return sorted(came, key=lambda arrival: arrival.at_ms)


@dataclasses.dataclass(frozen=True)
class Recorded(Scenario):
    """A stream that `listen --record-trace` recorded, with the drift of its clocks. The transit of
    its quickest packet is taken to be ONE_WAY_MS.
    """

    recorded: tuple[Arrival, ...] = ()

    def arrivals(self, seed: int = 0) -> list[Arrival]:
        return list(self.recorded)


@dataclasses.dataclass(frozen=True, slots=True)
class Heard:
    """One packet that the sink played from `at_ms` on.

    waited_ms: from arrival to playing; delay_ms: from capture, by true time; both None where a
    substitute was played. follows: as in Play.
    """

    at_ms: float
    number: int
    waited_ms: float | None
    delay_ms: float | None
    speed: float
    is_copy: bool = False
    follows: bool = True


def listen(playout: PlayoutBuffer, scenario: Scenario, seed: int = 0) -> list[Heard]:
    """Sends a scenario through a playout buffer -> everything that was played until its end."""
    waiting = scenario.arrivals(seed)
    stretch = 1 + scenario.sink_ppm * 1e-6
    captured = {a.number: a.captured_ms for a in waiting}
    heard, now, index = [], 0.0, 0
    end = scenario.seconds * 1000 + ONE_WAY_MS
    while now < end:
        while index < len(waiting) and waiting[index].at_ms <= now:
            arrival = waiting[index]
            capture = round(arrival.captured_ms * SAMPLES_PER_MS) % SEQUENCE_MODULUS
            playout.receive(
                arrival.number % SEQUENCE_MODULUS, capture, b"", arrival.flags, arrival.at_ms
            )
            back = scenario.copy_distance
            if 0 < back <= arrival.number:
                captured.setdefault(arrival.number - back, arrival.captured_ms - back * PACKET_MS)
                earlier = (
                    (arrival.number - back) % SEQUENCE_MODULUS,
                    round(capture - back * PACKET_MS * SAMPLES_PER_MS),
                )
                playout.recover(Copy(*earlier, COPY), arrival.at_ms)
            index += 1
        event = playout.poll(now)
        if event is None:
            now += IDLE_MS * stretch
            continue
        if isinstance(event, Play):
            sent = captured[event.sequence] * (1 + scenario.drift_ppm * 1e-6)
            is_copy = event.payload == COPY
            heard.append(
                Heard(
                    now,
                    event.sequence,
                    event.waited_ms,
                    now - sent,
                    event.speed,
                    is_copy,
                    event.follows,
                )
            )
            now += PACKET_MS / event.speed * stretch
        else:
            heard.append(Heard(now, event.sequence, None, None, 1.0))
            now += PACKET_MS * stretch
    return heard


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """Shares in percent, times in ms, of what was played from the scenario's settled_s on.

    mean_buffer, p99_buffer: of the time that packets waited. excess: mean delay of the last 100
    packets beyond ONE_WAY_MS. wander: longest delay less shortest. scaled: share of packets at a
    speed that needs time scaling. missing: share of the time in which nothing was played at all.
    """

    concealed: float
    mean_buffer: float
    p99_buffer: float
    excess: float
    wander: float
    scaled: float
    missing: float


COLUMNS = (
    "scenario",
    "playout",
    "concealed %",
    "buffer mean",
    "p99",
    "excess",
    "wander",
    "scaled %",
    "silent %",
)
TABLE_HEAD = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def table_row(scenario: str, playout: str, r: Result) -> str:
    times = (r.mean_buffer, r.p99_buffer, r.excess, r.wander)
    figures = (
        f"{r.concealed:.2f}",
        *(f"{ms:.0f}" for ms in times),
        f"{r.scaled:.1f}",
        f"{r.missing:.1f}",
    )
    return f"| {scenario} | {playout} | {' | '.join(figures)} |"


def summarise(heard: Iterable[Heard], scenario: Scenario) -> Result:
    counted = [h for h in heard if h.at_ms >= scenario.settled_s * 1000]
    if not counted:
        return Result(100.0, 0.0, 0.0, 0.0, 0.0, 0.0, 100.0)
    waited = np.array([h.waited_ms for h in counted if h.waited_ms is not None])
    delays = [h.delay_ms for h in counted if h.delay_ms is not None]
    last = [h.delay_ms for h in counted[-100:] if h.delay_ms is not None]
    span = (scenario.seconds - scenario.settled_s) * 1000
    played = sum(PACKET_MS / h.speed for h in counted)
    return Result(
        concealed=100 * sum(h.waited_ms is None for h in counted) / len(counted),
        mean_buffer=float(waited.mean()),
        p99_buffer=float(np.percentile(waited, 99)),
        excess=float(np.mean(last)) - ONE_WAY_MS,
        wander=max(delays) - min(delays),
        scaled=100 * sum(not is_fine(h.speed) for h in counted) / len(counted),
        missing=max(0.0, 100 * (1 - played / span)),
    )


def _none(rng: Rng, sent: np.ndarray) -> np.ndarray:
    return np.zeros(len(sent))


def _stalls(
    every_ms: float, stall_ms: float, until_ms: float
) -> Callable[[Rng, np.ndarray], np.ndarray]:
    def delay(rng: Rng, sent: np.ndarray) -> np.ndarray:
        phase = sent % every_ms
        return np.where((sent < until_ms) & (phase < stall_ms), stall_ms - phase, 0.0)

    return delay


def _freeze(
    at_ms: float, freeze_ms: float, drift: float = 0.0
) -> Callable[[Rng, np.ndarray], np.ndarray]:
    def delay(rng: Rng, sent: np.ndarray) -> np.ndarray:
        inside = (sent >= at_ms) & (sent < at_ms + freeze_ms)
        return np.where(inside, at_ms + freeze_ms - sent, 0.0) + drift * sent / 1000

    return delay


def steps(sent_steps: list[tuple[float, float]]) -> Callable[[Rng, np.ndarray], np.ndarray]:
    """A network that becomes slower by some ms (second) from a time on (first), step by step."""

    def delay(rng: Rng, sent: np.ndarray) -> np.ndarray:
        extra = np.zeros(len(sent))
        for at, by in sent_steps:
            extra[sent >= at] += by
        return extra

    return delay


def gilbert_elliott(rng: Rng, count: int, share: float, burst: float) -> np.ndarray:
    """[count] bool, True where lost: `share` of all packets, in bursts of `burst` on average."""
    chain = GilbertElliott(share, burst)
    return np.array([chain.lost(draw) for draw in rng.random(count)], bool)


def _bursts(rng: Rng, sent: np.ndarray) -> np.ndarray:
    return np.where(gilbert_elliott(rng, len(sent), 0.05, 3), np.inf, 0.0)


SCENARIOS = (
    Scenario("clean", 60, _none),
    Scenario(
        "jitter N(0, 10 ms)", 120, lambda rng, sent: rng.normal(0, 10, len(sent)), in_order=False
    ),
    Scenario(
        "jitter N(0, 30 ms)", 120, lambda rng, sent: rng.normal(0, 30, len(sent)), in_order=False
    ),
    Scenario(
        "jitter pareto (a 2.5, 10 ms), in order",
        120,
        lambda rng, sent: 10 * rng.pareto(2.5, len(sent)),
    ),
    Scenario("Wi-Fi stalls of 100 ms every 2 s", 60, _stalls(2_000, 100, 60_000), settled_s=10),
    Scenario("the same, over after 40 s", 52, _stalls(2_000, 100, 40_000), settled_s=10),
    Scenario("freeze 0.2 s", 40, _freeze(20_000, 200)),
    Scenario("freeze 1 s", 40, _freeze(20_000, 1_000)),
    Scenario("freeze 5 s", 40, _freeze(20_000, 5_000)),
    Scenario("freeze 10 s", 40, _freeze(15_000, 10_000)),
    Scenario("drift 25 ms/s and freeze 5 s", 40, _freeze(20_000, 5_000, drift=25.0)),
    Scenario("drift -25 ms/s and freeze 5 s", 40, _freeze(20_000, 5_000, drift=-25.0)),
    Scenario("network 600 ms slower from 20 s on", 60, steps([(20_000, 600)])),
    Scenario("route +60 ms, then -60 ms", 60, steps([(20_000, 60), (40_000, -60)])),
    Scenario(
        "loss 5 %, uniform",
        120,
        lambda rng, sent: np.where(rng.random(len(sent)) < 0.05, np.inf, 0.0),
    ),
    Scenario(
        "5 % twice, jitter N(0, 10 ms)",
        120,
        lambda rng, sent: rng.normal(0, 10, len(sent)),
        in_order=False,
        duplicated=0.05,
    ),
    Scenario("loss 5 %, bursts of 3", 120, _bursts),
    Scenario("loss 5 %, bursts of 3, with copies 3 back", 120, _bursts, copy_distance=3),
)


def read_trace(path: Path, settled_s: float = 5.0) -> Recorded:
    """The stream with most packets in a CSV file of `listen --record-trace`. Raises ConfigError,
    which names the line.
    """
    streams: dict[str, list[tuple[int, float, float, Flags]]] = {}
    try:
        with path.open(encoding="ascii", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                try:
                    sequence, flags = (int(row[c]) for c in ("sequence", "flags"))
                    captured, at, packet_ms = (
                        float(row[c]) for c in ("capture_ms", "arrival_ms", "packet_ms")
                    )
                except (KeyError, TypeError, ValueError) as error:
                    raise ConfigError(
                        f"{path}, line {number}: no line of a trace ({error}); "
                        "see listen --record-trace"
                    ) from error
                if packet_ms != PACKET_MS:
                    raise ConfigError(
                        f"{path}, line {number}: packets of {packet_ms:g} ms; "
                        f"traces of {PACKET_MS:g} ms are played"
                    )
                streams.setdefault(row["stream"], []).append((sequence, captured, at, Flags(flags)))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the trace {path}: {error}") from error
    if not streams:
        raise ConfigError(f"{path} holds no packets")
    rows = max(streams.values(), key=len)
    numbers, capture_ms = [0], [0.0]
    for (before, captured_before, *_), (sequence, captured, *_) in itertools.pairwise(rows):
        numbers.append(numbers[-1] + sequence_distance(sequence, before))
        step = captured - captured_before
        # Capture time wraps every three days: there, sequence numbers say how much was captured.
        plausible = abs(step) < CAPTURE_WRAP_MS / 2
        capture_ms.append(
            capture_ms[-1] + (step if plausible else PACKET_MS * (numbers[-1] - numbers[-2]))
        )
    first = min(numbers)
    quickest = min(at - captured for (_, _, at, _), captured in zip(rows, capture_ms, strict=True))
    begin = min(capture_ms)
    arrivals = sorted(
        (
            Arrival(at - quickest - begin + ONE_WAY_MS, n - first, captured - begin, flags)
            for n, captured, (_, _, at, flags) in zip(numbers, capture_ms, rows, strict=True)
        ),
        key=lambda arrival: arrival.at_ms,
    )
    seconds = (max(capture_ms) - begin + PACKET_MS) / 1000
    return Recorded(
        path.name,
        seconds,
        _none,
        in_order=False,
        settled_s=min(settled_s, seconds / 2),
        recorded=tuple(arrivals),
    )


def drifts(hours: float) -> list[Scenario]:
    """Scenarios with nothing but clock drift."""
    return [
        Scenario(
            f"drift {by:+g} ppm, {hours:g} h", 3_600 * hours, _none, drift_ppm=by, settled_s=30
        )
        for by in DRIFTS_PPM
    ]


PLAYOUTS: dict[str, Callable[[], PlayoutBuffer]] = {
    "adaptive": lambda: AdaptivePlayout(packet_ms=PACKET_MS, samples_per_ms=SAMPLES_PER_MS),
    "fixed 60 ms": lambda: FixedPlayout(packet_ms=PACKET_MS, target_ms=60),
    "NetEq's rule": lambda: AdaptivePlayout(
        packet_ms=PACKET_MS, samples_per_ms=SAMPLES_PER_MS, rule=NETEQ
    ),
}
