"""Who may import whom (docs/architecture.md), read from the source: a rule that is not checked is a
wish.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
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
VALUES = {f"streamcodec.{name}" for name in ("errors", "config", "units", "tables")}
# What each room may import of ours, besides itself. A module's own entry comes before its room's.
ALLOWED = {
    **dict.fromkeys(VALUES, VALUES),
    "streamcodec": {"streamcodec"},
    "streamcodec.wire": VALUES,
    "streamcodec.live": {*VALUES, "streamcodec.wire"},
    "streamcodec.engines.api": VALUES,
    "streamcodec.native": VALUES,
    "streamcodec.engines.native": {
        *VALUES,
        "streamcodec.engines.api",
        "streamcodec.native",
        "streamcodec_models.catalogue",
    },
    "streamcodec.engines.torch": {*VALUES, "streamcodec.engines.api", "streamcodec_models"},
    "streamcodec.coding": {*VALUES, "streamcodec.engines.api", "streamcodec.native"},
    "streamcodec.coding.model": {
        *VALUES,
        "streamcodec.coding",
        "streamcodec.engines",
        "streamcodec.native",
        "streamcodec_models.catalogue",
    },
    "streamcodec.coding.page_codec": {
        *VALUES,
        "streamcodec.coding",
        "streamcodec_models.catalogue",
        "streamcodec_models.packed_layout",
    },
    "streamcodec.listening": VALUES,
    "streamcodec.pauses": set(),
    "streamcodec.native.where": set(),
    "streamcodec_models": VALUES,
    "streamcodec_server": {
        "streamcodec.config",
        "streamcodec.errors",
        "streamcodec.listening",
        "streamcodec.native.where",
        "streamcodec.pauses",
        "streamcodec.wire",
    },
    "streamcodec_server.serve": {
        *("streamcodec.errors", "streamcodec.listening", "streamcodec.pauses"),
        "streamcodec.coding.page_codec",
        "streamcodec_server",
    },
    "streamcodec_client": {"streamcodec", "streamcodec_models.catalogue"},
    "streamcodec_client.clock": set(),
    "streamcodec_client.audio": {"streamcodec", "streamcodec_client.clock"},
    "streamcodec_client.transport": {"streamcodec", "streamcodec_client.clock"},
    "streamcodec_client.report": {"streamcodec", "streamcodec_client.clock"},
    "streamcodec_client.live": {
        "streamcodec",
        *(f"streamcodec_client.{room}" for room in ("clock", "audio", "transport", "report")),
    },
    "streamcodec_client.api": {
        "streamcodec",
        *(
            f"streamcodec_client.{room}"
            for room in ("clock", "audio", "transport", "report", "live")
        ),
    },
    "streamcodec_client.screen": {
        "streamcodec",
        *(f"streamcodec_client.{room}" for room in ("clock", "audio", "report", "live")),
    },
    "streamcodec_client.gateway": {
        "streamcodec",
        *(f"streamcodec_client.{room}" for room in ("clock", "audio", "transport", "live")),
    },
    "streamcodec_training": {"streamcodec", "streamcodec_models"},
    # the relay otherwise runs as a process beside it
    "streamcodec_bench": {
        "streamcodec",
        "streamcodec_client.commands.grouping",
        "streamcodec_server",
    },
}
# Logic that lives in time or on the wire: no clock, no socket, no thread, no PyTorch.
SANS_IO = (
    "streamcodec.wire",
    "streamcodec.live",
    *(
        f"streamcodec_server.{name}"
        for name in (
            *("rooms", "members", "streams", "mailbox", "distribution", "framing", "frames"),
            *("budget", "addresses", "lateness", "media", "moderation", "spanning", "proxies"),
            *("audience", "histogram", "presence", "space"),
        )
    ),
)
FORBIDDEN_IN_SANS_IO = {
    *("asyncio", "queue", "selectors", "socket", "threading", "time", "torch", "websockets"),
    "streamcodec_client.clock",
}
MAX_LINES = 400


@cache
def modules() -> dict[str, Path]:
    """Every module of ours by its name."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            inside = path.relative_to(folder).with_suffix("").parts
            parts = inside[:-1] if inside[-1] == "__init__" else inside
            found[".".join((package, *parts))] = path
    return found


def imported(module: str, path: Path) -> set[str]:
    """Absolute names of what a module imports, inside functions too; relative ones are resolved."""
    here = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                # `from package import module` imports the module.
                inner = f"{origin}.{alias.name}"
                names.add(inner if inner in modules() else origin)
    return names


@cache
def graph() -> dict[str, set[str]]:
    return {module: imported(module, path) for module, path in modules().items()}


def reached(module: str) -> set[str]:
    """Everything that a module imports, and what that imports of ours in turn."""
    seen, waiting = set(), [module]
    while waiting:
        for name in graph().get(waiting.pop(), set()) - seen:
            seen.add(name)
            waiting.append(name)
    return seen


def inside(name: str, rooms: Iterable[str]) -> bool:
    return any(name == room or name.startswith(room + ".") for room in rooms)


def room_of(module: str) -> str:
    """The most precise entry of ALLOWED that speaks for a module."""
    parts = module.split(".")
    return next(name for n in range(len(parts), 0, -1) if (name := ".".join(parts[:n])) in ALLOWED)


@pytest.mark.parametrize("module", modules())
def test_imports_point_one_way(module: str) -> None:
    room = room_of(module)
    ours = {name for name in graph()[module] if name.split(".")[0] in PACKAGES}
    wrong = {name for name in ours if not inside(name, {room, *ALLOWED[room]})}
    assert not wrong, f"{module} ({room}) imports {wrong}"


def test_no_import_comes_back_to_where_it_began() -> None:
    loops = [module for module in modules() if module in reached(module)]
    assert loops == []


@pytest.mark.parametrize("module", [m for m in modules() if inside(m, SANS_IO)])
def test_logic_takes_time_as_an_argument(module: str) -> None:
    used = {name for name in reached(module) if inside(name, FORBIDDEN_IN_SANS_IO)}
    assert not used, f"{module} reaches {used}"


def test_only_the_torch_engine_brings_pytorch_into_the_codec() -> None:
    users = {
        module
        for module, names in graph().items()
        if module.split(".")[0] in ("streamcodec", "streamcodec_server", "streamcodec_client")
        and any(inside(name, {"torch", "safetensors"}) for name in names)
    }
    assert users == {"streamcodec.engines.torch"}


def test_models_know_nothing_of_packets_or_time() -> None:
    for module in modules():
        if inside(module, {"streamcodec_models"}):
            assert not reached(module) & FORBIDDEN_IN_SANS_IO - {"torch"}


@pytest.mark.parametrize("folder", [*PACKAGES.values(), ROOT / "tests", ROOT / "native" / "src"])
def test_files_stay_readable(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.suffix in {".py", ".c", ".h"}]
    assert files
    counts = {path.name: len(path.read_text().splitlines()) for path in files}
    assert {name: n for name, n in counts.items() if n > MAX_LINES} == {}


@pytest.mark.parametrize("module", modules())
def test_public_names_are_documented(module: str) -> None:
    path = modules()[module]
    tree = ast.parse(path.read_text())
    documented = (path.name == "__init__.py" and not tree.body) or ast.get_docstring(tree)
    classes = [n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
    assert documented
    assert [c.name for c in classes if ast.get_docstring(c) is None] == []


def loaded_by(module: str, names: set[str]) -> str:
    """Which of `names` a fresh interpreter has loaded once it has imported `module`."""
    program = f"import sys, {module}; print(sorted({names!r} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


@pytest.mark.parametrize(
    "room", ["streamcodec", "streamcodec.coding", "streamcodec.wire", "streamcodec.live"]
)
def test_the_codec_and_the_live_path_need_no_pytorch(room: str) -> None:
    all_of_it = [m for m in modules() if m == room or (inside(m, {room}) and room != "streamcodec")]
    assert loaded_by(", ".join(all_of_it), {"torch", "safetensors"}) == "[]"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("streamcodec.wire.session, streamcodec.wire.redundancy", {"numpy", "asyncio"}),
        ("streamcodec_server.serve", {"torch", "numpy"}),
        ("streamcodec_client.cli", {"torch", "numpy", "sounddevice", "websockets"}),
        ("streamcodec_client.commands.live", {"torch", "sounddevice"}),
        ("streamcodec_client.commands.devices", {"torch", "sounddevice"}),
        ("streamcodec_client.commands.files", {"torch", "sounddevice", "websockets"}),
        ("streamcodec_client.commands.gateway", {"torch", "sounddevice"}),
    ],
)
def test_importing_has_no_weight_it_does_not_need(module: str, absent: set[str]) -> None:
    assert loaded_by(module, absent) == "[]"
