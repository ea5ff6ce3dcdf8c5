"""Settings of the relay, and `streamcodec serve` as a process."""

import asyncio
import datetime
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from relay_clients import INFO, member
from streamcodec.errors import ConfigError
from streamcodec.wire.session import Hello, Role
from streamcodec_server.limits import RoomLimits
from streamcodec_server.log import MOST_LINES, Log
from streamcodec_server.relay import Relay
from streamcodec_server.serve import serve
from streamcodec_server.settings import RelayConfig

PATIENCE_S = 60


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--port", "70000"], "port must be 0 to 65535, got 70000"),
        (["--max-queue-ms", "5"], "max queue must be 20 to 10000 ms, got 5"),
        (["--max-talkers", "0"], "max talkers must be 1 to 128, got 0"),
        (["--rooms", " , "], "the list of rooms is empty"),
        (["--origin", "example.org"], r"written https://example.org\[:port\], got 'example.org'"),
        (["--origin", "https://example.org/"], "got 'https://example.org/'"),
        (["--max-connections", "0"], "max connections must be at least 1, got 0"),
    ],
)
def test_a_setting_out_of_range_is_named(arguments: list[str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        serve.main(arguments, standalone_mode=False)


@pytest.mark.parametrize(
    "setting", ["hello_timeout_s", "close_timeout_s", "ping_interval_s", "ping_timeout_s"]
)
def test_a_time_out_of_zero_is_named(setting: str) -> None:
    with pytest.raises(ConfigError, match=f"{setting} must be above 0, got 0"):
        RelayConfig(**{setting: 0.0})  # type: ignore[arg-type]


@pytest.mark.parametrize("room", ["x" * 65, "a\nb"])
def test_a_room_name_that_no_client_could_send_is_refused(room: str) -> None:
    with pytest.raises(ConfigError, match="at most 64 printable characters"):
        RelayConfig(limits=RoomLimits(rooms=frozenset({"hall", room})))


def test_a_port_in_use_is_reported_in_one_line_with_status_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            serve_command("--port", port),
            capture_output=True,
            text=True,
            env=environment(),
            timeout=PATIENCE_S,
        )
    assert done.returncode == 2
    assert done.stderr.startswith(f"streamcodec: cannot listen on 127.0.0.1:{port}:")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_shuts_the_process_down_without_errors(number: signal.Signals) -> None:
    process = subprocess.Popen(
        serve_command("--port", "0"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    assert "relay listening on ws://127.0.0.1:" in process.stdout.readline()
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, "")


async def test_who_comes_and_goes_and_is_refused_is_told() -> None:
    told: list[tuple[str, str, dict[str, object]]] = []
    config = RelayConfig(port=0, limits=RoomLimits(max_listeners=1))
    relay = Relay(config, tell=lambda kind, text, /, **fields: told.append((kind, text, fields)))
    async with relay.running() as server:
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        async with member(url, Hello(Role.LISTEN, "a", "Ada")):
            async with member(url, Hello(Role.BOTH, "b", "Cy", INFO)):
                assert told.pop()[1] == "'Cy' joined 'b' to listen and talk from 127.0.0.1"
            while not told or told[-1][0] != "left":
                await asyncio.sleep(0.01)
            told.pop()
            with pytest.raises(AssertionError):  # there is no welcome
                async with member(url, Hello(Role.LISTEN, "a", "Bob")):
                    pass
        while len(told) < 3:
            await asyncio.sleep(0.01)
    assert [kind for kind, _, _ in told] == ["joined", "refused", "left"]
    assert told[0][1] == "'Ada' joined 'a' to listen from 127.0.0.1"
    assert told[1][2]["code"] == 1013
    assert told[1][2]["reason"] == "room a has 1 listeners: that is all it takes"
    assert {"room": "a", "name": "Ada", "member": 1, "dropped": 0}.items() <= told[2][2].items()
    json.dumps(told)


def test_json_lines_have_a_time_and_a_type() -> None:
    with subprocess.Popen(
        serve_command("--port", "0", "--json"),
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        process.terminate()
        lines += process.stdout.readlines()
    said = [json.loads(line) for line in lines]
    assert [line["type"] for line in said[:2]] == ["listening", "health"]
    assert said[0]["url"].startswith("ws://127.0.0.1:")
    for line in said:
        check_time(line["time"])


def test_lines_of_text_have_a_time() -> None:
    with subprocess.Popen(
        serve_command("--port", "0"), stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        when, said = process.stdout.readline().split(maxsplit=1)
        process.terminate()
    check_time(when)
    assert said.startswith("relay listening on ws://127.0.0.1:")


@pytest.mark.parametrize("as_json", [True, False])
def test_what_libraries_log_is_in_the_same_form(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Log(as_json=as_json)
    try:
        try:
            raise OSError("no more files")
        except OSError:
            logging.getLogger("asyncio").exception("cannot accept")
        logging.getLogger("asyncio").info("left out")
    finally:
        log.close()
    printed = capsys.readouterr()
    if as_json:
        line = json.loads(printed.out)
        check_time(line["time"])
        assert (line["type"], line["level"], line["logger"]) == ("log", "error", "asyncio")
        assert line["text"].startswith("cannot accept\nTraceback")
    else:
        when, said = printed.err.split(maxsplit=1)
        check_time(when)
        assert said.startswith("error: cannot accept\nTraceback")
        assert printed.out == ""


def test_a_log_that_nobody_reads_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output is a pipe that is full: the relay once stood still with it."""
    reading = threading.Event()
    written: list[str] = []

    def echo(line: str, err: bool) -> None:
        reading.wait(PATIENCE_S)
        written.append(line)

    monkeypatch.setattr("click.echo", echo)
    log = Log(as_json=False)
    for n in range(MOST_LINES + 500):
        log.tell("joined", f"line {n}")
    assert written == []
    reading.set()
    while len(written) < MOST_LINES:
        time.sleep(0.01)
    log.tell("joined", "the last")
    log.close()
    assert "499 lines were left out" in written[-2] or "500 lines were left out" in written[-2]
    assert written[-1].endswith("the last")


def check_time(text: str) -> None:
    """RFC 3339, in UTC."""
    assert text.endswith("Z")
    assert datetime.datetime.fromisoformat(text).tzinfo is datetime.UTC


def serve_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "streamcodec_client", "serve", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
