"""`make demo`: real speech through the shipped codec and a relay, three processes, and what was
measured of it.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from streamcodec.errors import StreamcodecError
from streamcodec.files import check_paths
from streamcodec.wire.overhead import OVERHEAD_NOTE

from .latency import LatencyReport, latency_report, read_mono, read_trace, reading
from .live_session import SessionPlan, run_session
from .options import SessionOptions, session_options


@dataclasses.dataclass(frozen=True)
class SessionReport:
    """What one live session measured. Rates in kbit/s of the sender; losses as the listener counted
    them.
    """

    seconds: float
    payload_kbps: float
    wire_kbps: float
    packets_sent: int
    packets_lost: int
    packets_late: int
    packets_concealed: int
    latency: LatencyReport

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2)


def measure(plan: SessionPlan, show: bool) -> tuple[SessionReport, list[int]]:
    """Run the session and read its traces. Returns the report and the payload size of each packet
    in bytes.
    """
    from streamcodec.coding.model import load_model

    model = load_model(plan.model, "cpu")
    config = model.stream_config(1, model.packet_samples(plan.packet_ms))
    pcm, rate = read_mono(plan.source)
    if rate > config.sample_rate and model.high_band is not None:
        config = model.full_band(config)
    seconds = len(pcm) / rate

    estimates_ms: list[float] = []

    def progress(line: dict[str, Any]) -> None:
        if line["type"] != "statistics":
            return
        reported_ms = [stream["mouth_to_ear_ms"] for stream in line["receive"]["streams"]]
        estimates_ms.extend(delay_ms for delay_ms in reported_ms if delay_ms is not None)
        if show:
            received_s = line["receive"]["packets"] * config.packet_ms / 1000
            click.echo(f"\r{_progress_line(line, received_s, seconds)}", err=True, nl=False)

    summaries = run_session(plan, progress)
    if show:
        click.echo("", err=True)
    _, packets = read_trace(plan.sender_trace)
    overlap_ms = 1000 * config.overlap / config.sample_rate
    latency = latency_report(
        plan.source,
        plan.decoded,
        plan.sender_trace,
        plan.listener_trace,
        config.packet_ms,
        overlap_ms,
        estimates_ms,
    )
    sizes = [p["payload_bytes"] for p in packets]
    heard = summaries.listener["receive"]
    audio_s = len(packets) * config.packet_ms / 1000
    return SessionReport(
        seconds=round(seconds, 2),
        payload_kbps=round(sum(sizes) * 8 / audio_s / 1000, 3),
        wire_kbps=round(sum(p["wire_bytes"] for p in packets) * 8 / audio_s / 1000, 2),
        packets_sent=len(packets),
        packets_lost=heard["lost"],
        packets_late=heard["late"],
        packets_concealed=heard["concealed"],
        latency=latency,
    ), sizes


def _progress_line(line: dict[str, Any], second: float, seconds: float) -> str:
    second = min(second, seconds)
    done = second / seconds
    heard = line["receive"]
    bar = "#" * round(24 * done)
    return (
        f"[{bar:<24}] {second:3.0f}/{seconds:.0f} s  {heard['payload_bps'] / 1000:5.2f} kbit/s  "
        f"lost {heard['lost']}  late {heard['late']}  concealed {heard['concealed']}  "
        f"buffer {heard['buffer_ms']:3.0f} ms "
    )


def report_text(report: SessionReport) -> str:
    """The report as a terminal shows it."""
    latency = report.latency
    rows = [
        f"payload     {report.payload_kbps:6.2f} kbit/s",
        f"on the wire {report.wire_kbps:6.2f} kbit/s  ({OVERHEAD_NOTE})",
        f"packets     {report.packets_sent} sent, {report.packets_lost} lost, "
        f"{report.packets_late} late, {report.packets_concealed} concealed",
        "",
        f"{'latency, ms':<18}{'p50':>8}{'p99':>8}",
        f"{'packet fill':<18}{latency.packet_fill_ms:8.2f}{'':8}"
        "  first sample of a packet until its last",
    ]
    rows += [
        f"{stage:<18}{spread.p50:8.2f}{spread.p99:8.2f}" for stage, spread in latency.stages.items()
    ]
    rows += [
        f"{'codec overlap':<18}{latency.overlap_ms:8.2f}",
        f"{'end to end':<18}{latency.end_to_end.p50:8.2f}{latency.end_to_end.p99:8.2f}"
        f"  cross-correlation of sent and played, {latency.windows} windows; "
        f"creep {latency.creep_ms:+.2f} ms",
        f"{'as reported':<18}{latency.estimated.p50:8.2f}{latency.estimated.p99:8.2f}"
        "  by the listener, each second, from clocks",
    ]
    return "\n".join(rows)


def draw_session(plan: SessionPlan, report: SessionReport, sizes: list[int]) -> Path:
    """PNG beside the recordings: both spectrograms, aligned by the measured delay, and the rate
    over time.
    """
    from .picture import draw

    sent, rate = read_mono(plan.source)
    played, _ = read_mono(plan.decoded)
    facts_sent, _ = read_trace(plan.sender_trace)
    facts_heard, _ = read_trace(plan.listener_trace)
    delay_ms = (
        report.latency.end_to_end.p50
        - (facts_heard["sink_start_ns"] - facts_sent["source_start_ns"]) / 1e6
    )
    delay = max(0, round(delay_ms * rate / 1000))
    target = plan.folder / "session.png"
    title = (
        f"streamcodec live: {report.payload_kbps:.2f} kbit/s payload, "
        f"{report.latency.end_to_end.p50:.0f} ms end to end, "
        f"{report.packets_concealed} of {report.packets_sent} packets concealed"
    )
    draw(target, sent, played[delay : delay + len(sent)], rate, plan.packet_ms / 1000, sizes, title)
    return target


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo"),
    show_default=True,
)
@session_options
def demo(out: Path, session: SessionOptions) -> None:
    """Send bundled speech through a relay to a listener, and measure it."""
    # original.wav may be the source itself: of a demo before this one
    names = ("decoded.wav", "sender.jsonl", "listener.jsonl", "session.png", "report.json")
    check_paths([("--source", session.source)], [("--out", out / name) for name in names])
    out.mkdir(parents=True, exist_ok=True)
    plan = _plan(session, out)
    click.echo(
        "relay, listener and sender are starting: three processes over websockets on 127.0.0.1",
        err=True,
    )
    report, sizes = measure(plan, show=True)
    (out / "report.json").write_text(report.to_json() + "\n")
    picture = draw_session(plan, report, sizes)
    click.echo(report_text(report))
    click.echo(
        f"\n{plan.source}  what was said\n{plan.decoded}  what was heard\n"
        f"{picture}  both, and the rate over time"
    )


def measure_latency(session: SessionOptions) -> SessionReport:
    """A session whose files are thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        report, _ = measure(_plan(session, Path(folder)), show=False)
    return report


def _plan(session: SessionOptions, folder: Path) -> SessionPlan:
    original = folder / "original.wav"
    _as_wav(session.source, original)
    return SessionPlan(
        source=original,
        folder=folder,
        bitrate_bps=session.bitrate_bps,
        packet_ms=session.packet_ms,
        playout_ms=session.playout_ms,
        model=session.model,
    )


def _as_wav(source: Path, target: Path) -> None:
    import soundfile

    if source.suffix.lower() == ".wav":
        if source.resolve() != target.resolve():
            shutil.copyfile(source, target)
        return
    with reading(source):
        pcm, rate = soundfile.read(source, dtype="int16", always_2d=True)
    soundfile.write(target, pcm, rate)


def main() -> int:
    try:
        demo.main(standalone_mode=False, prog_name="demo")
    except StreamcodecError as error:
        click.echo(f"demo: {error}", err=True)
        return 2
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
