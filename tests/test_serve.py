"""Settings of the relay, and `streamcodec serve` as a process."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from streamcodec.errors import ConfigError
from streamcodec_server.relay import Relay, RelayConfig
from streamcodec_server.rooms import RoomLimits
from streamcodec_server.serve import serve

PATIENCE_S = 60


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--port", "70000"], "port must be 0 to 65535, got 70000"),
        (["--max-queue-ms", "5"], "max queue must be 20 to 10000 ms, got 5"),
        (["--max-talkers", "0"], "max talkers must be 1 to 128, got 0"),
        (["--rooms", " , "], "the list of rooms is empty"),
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


def test_an_empty_host_does_not_mean_all_addresses() -> None:
    with pytest.raises(
        ConfigError, match="host must not be empty: 0.0.0.0 listens on all addresses"
    ):
        RelayConfig(host="")


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
async def test_a_malformed_host_name_is_one_error(host: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot listen on {host}:0: that is no host name"):
        async with Relay(RelayConfig(host, 0)).running():
            pass


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


def serve_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "streamcodec_client", "serve", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
