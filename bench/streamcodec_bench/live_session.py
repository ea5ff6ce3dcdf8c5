"""A whole live session on this machine: relay, listener and sender as processes of their own over
real websockets.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import soundfile

from streamcodec.errors import StreamcodecError

from .latency import reading

PROGRAM = [sys.executable, "-m", "streamcodec_client"]
ENDING_S = 30.0


class SessionFailed(StreamcodecError):
    """A process of the session failed; the message holds the last line of its stderr."""


@dataclasses.dataclass(frozen=True)
class SessionPlan:
    """What is sent and how. `source` is a recording; everything that the session writes goes into
    `folder`. The prefixes are commands, such as `ip netns exec NAME`, in front of those that start
    the relay, and talker and listener.
    """

    source: Path
    folder: Path
    bitrate_bps: float = 6_000
    packet_ms: int = 20
    playout_ms: str = "adaptive"
    model: str | None = None
    relay_host: str = "127.0.0.1"
    relay_prefix: tuple[str, ...] = ()
    client_prefix: tuple[str, ...] = ()

    @property
    def decoded(self) -> Path:
        return self.folder / "decoded.wav"

    @property
    def sender_trace(self) -> Path:
        return self.folder / "sender.jsonl"

    @property
    def listener_trace(self) -> Path:
        return self.folder / "listener.jsonl"


@dataclasses.dataclass(frozen=True)
class SessionSummaries:
    """The last JSON line of each side."""

    sender: dict[str, Any]
    listener: dict[str, Any]


def run_session(
    plan: SessionPlan, on_progress: Callable[[dict[str, Any]], None]
) -> SessionSummaries:
    """Blocks until the recording has been sent and played. `on_progress` gets the listener's line
    each second. Raises SessionFailed.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    model = ["--model", plan.model] if plan.model else []
    client = [*plan.client_prefix, *PROGRAM]
    with started(
        [*plan.relay_prefix, *PROGRAM, "serve", "--host", plan.relay_host, "--port", "0", "--open"]
    ) as relay:
        url = line_with(relay, "listening on ").split("listening on ")[1].split()[0]
        room = ["--url", url, "--room", "bench", "--json", *model]
        listen = ["listen", "--sink", str(plan.decoded), "--force", "--exit-when-done"]
        listen += ["--trace", str(plan.listener_trace), "--playout-ms", plan.playout_ms]
        listen += ["--rate", str(_sample_rate(plan.source))]
        send = ["send", "--source", str(plan.source), "--trace", str(plan.sender_trace), "--force"]
        send += ["--bitrate", str(plan.bitrate_bps), "--packet-ms", str(plan.packet_ms)]
        with started([*client, *listen, *room]) as listener:
            line_with(listener, '"connected": true')  # before the sender starts
            # Into a file: nobody reads the sender's output while it runs, and a full pipe would
            # stop it.
            with (
                tempfile.TemporaryFile("w+") as output,
                started([*client, *send, *room], output) as sender,
            ):
                heard = None
                assert listener.stdout is not None
                for line in listener.stdout:
                    heard = json.loads(line)
                    on_progress(heard)
                    if sender.poll() not in (None, 0):  # the listener would wait for ever
                        raise SessionFailed(
                            _last_words(sender, f"the sender ended with status {sender.returncode}")
                        )
                _finished(sender, "sender")
                output.seek(0)
                sent = [json.loads(line) for line in output if line.startswith("{")]
            _finished(listener, "listener")
    if heard is None or not sent:
        raise SessionFailed("the session ended without a summary from both sides")
    return SessionSummaries(sent[-1], heard)


def _sample_rate(source: Path) -> int:
    """Raises AudioError for a file without audio, before anything is started."""
    with reading(source):
        return int(soundfile.info(source).samplerate)


@contextlib.contextmanager
def started(
    command: list[str],
    stdout: int | IO[str] = subprocess.PIPE,
    environment: Mapping[str, str] = os.environ,
) -> Iterator[subprocess.Popen[str]]:
    """A process of ours, which ends with the context."""
    # One thread for each process, as live inference uses: the three may share two cores.
    variables = {**environment, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(  # noqa: S603
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=variables
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def line_with(process: subprocess.Popen[str], wanted: str) -> str:
    """The first line of its standard output that holds `wanted`. Raises SessionFailed where it ends
    without one.
    """
    assert process.stdout is not None
    for line in process.stdout:
        if wanted in line:
            return line
    raise SessionFailed(_last_words(process, f"{_role(process)} did not start"))


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has taken. Linux only."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _role(process: subprocess.Popen[str]) -> str:
    """The subcommand of `streamcodec` that a process runs."""
    words = list(process.args) if isinstance(process.args, list) else []
    return str(words[words.index(PROGRAM[-1]) + 1]) if PROGRAM[-1] in words else "process"


def _finished(process: subprocess.Popen[str], role: str) -> None:
    try:
        process.wait(timeout=ENDING_S)
    except subprocess.TimeoutExpired as error:
        raise SessionFailed(
            f"the {role} did not end within {ENDING_S:g} s of the recording's end"
        ) from error
    if process.returncode != 0:
        raise SessionFailed(
            _last_words(process, f"the {role} ended with status {process.returncode}")
        )


def _last_words(process: subprocess.Popen[str], what: str) -> str:
    words = ""
    if process.stderr is not None and not process.stderr.closed:
        process.terminate()
        words = process.stderr.read().strip()
    return f"{what}: {words.splitlines()[-1] if words else 'it said nothing'}"
