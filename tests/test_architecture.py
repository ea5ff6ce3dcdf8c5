"""Who may import whom (docs/architecture.md), read from the source: a rule that is not checked is a wish."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "streamcodec": ROOT / "streamcodec",
    "streamcodec_server": ROOT / "server" / "streamcodec_server",
    "streamcodec_client": ROOT / "client" / "streamcodec_client",
    "streamcodec_models": ROOT / "models" / "streamcodec_models",
    "streamcodec_training": ROOT / "models" / "training" / "streamcodec_training",
    "streamcodec_bench": ROOT / "bench" / "streamcodec_bench",
}
OURS = {
    "streamcodec_models": {"streamcodec_models"},
    "streamcodec": {"streamcodec", "streamcodec_models"},
    "streamcodec_server": {"streamcodec_server", "streamcodec"},
    "streamcodec_client": {"streamcodec_client", "streamcodec"},
    "streamcodec_training": {"streamcodec_training", "streamcodec", "streamcodec_models"},
    "streamcodec_bench": {"streamcodec_bench", "streamcodec"},
}
# Logic that lives in time or on the wire: no clock, no socket, no thread, no PyTorch.
SANS_IO = [
    *(f"streamcodec/{name}.py" for name in ("packet", "redundancy", "session", "sequence", "delay", "playout", "adaptive", "dtx")),
    "server/streamcodec_server/rooms.py",
]
FORBIDDEN_IN_SANS_IO = {"asyncio", "socket", "threading", "time", "torch", "websockets", "selectors", "queue"}
MAX_LINES = 400


def sources(package: str) -> list[Path]:
    return sorted(PACKAGES[package].rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Absolute module names, those inside functions too; relative imports stay inside their package and are not listed."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package: str) -> None:
    for path in sources(package):
        ours = {name.split(".")[0] for name in imported(path)} & set(PACKAGES)
        assert ours <= OURS[package], f"{path.relative_to(ROOT)} imports {ours - OURS[package]}"


def test_the_relay_knows_packets_and_sessions_only() -> None:
    allowed = {"streamcodec.packet", "streamcodec.redundancy", "streamcodec.session", "streamcodec.errors"}
    for path in sources("streamcodec_server"):
        used = {n for n in imported(path) if n.split(".")[0] == "streamcodec"}
        assert used <= allowed, f"{path.name} imports {used - allowed}"


@pytest.mark.parametrize("path", SANS_IO)
def test_logic_takes_time_as_an_argument(path: str) -> None:
    used = {name.split(".")[0] for name in imported(ROOT / path)}
    assert not used & FORBIDDEN_IN_SANS_IO


def test_models_know_nothing_of_packets_or_time() -> None:
    for path in sources("streamcodec_models"):
        assert not {name.split(".")[0] for name in imported(path)} & {"asyncio", "time", "websockets", "socket", "threading"}


@pytest.mark.parametrize("package", PACKAGES)
def test_files_stay_readable(package: str) -> None:
    long = {str(p.relative_to(ROOT)): n for p in sources(package) if (n := len(p.read_text().splitlines())) > MAX_LINES}
    assert long == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_documented(package: str) -> None:
    missing = []
    for path in sources(package):
        tree = ast.parse(path.read_text())
        if path.name != "__init__.py" and ast.get_docstring(tree) is None:
            missing.append(path.name)
        classes = [n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
        missing += [f"{path.name}:{c.name}" for c in classes if ast.get_docstring(c) is None]
    assert missing == []


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("streamcodec.packet", {"torch", "numpy", "asyncio"}),
        ("streamcodec_client.cli", {"torch", "numpy", "sounddevice", "websockets"}),
        ("streamcodec_client.live_cli", {"torch", "sounddevice"}),
        ("streamcodec_client.device_cli", {"torch", "sounddevice"}),
    ],
)
def test_importing_has_no_weight_it_does_not_need(module: str, absent: set[str]) -> None:
    program = f"import sys, {module}; print(sorted({absent!r} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"
