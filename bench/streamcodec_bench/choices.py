"""What bench commands were asked for, out of comma-separated texts, and whether it is installed."""

from __future__ import annotations

import importlib.util

import click

from .metrics import INSTALL_BY_HAND


def rates_of(text: str) -> list[float]:
    """kbit/s, comma-separated -> bit/s. Raises click.BadParameter."""
    return [1000 * rate for rate in numbers_of(text, "kbit/s such as 3,6,12")]


def numbers_of(text: str, wanted: str = "numbers such as 0,1,3") -> list[float]:
    """Comma-separated. Raises click.BadParameter."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: write {wanted}") from error


def need(modules: set[str]) -> None:
    """Raises click.UsageError for modules that are not installed, before anything is measured."""
    missing = sorted(m for m in modules if importlib.util.find_spec(m) is None)
    if not missing:
        return
    ways = [INSTALL_BY_HAND[m] for m in missing if m in INSTALL_BY_HAND]
    if len(ways) < len(missing):
        ways.insert(0, "pip install 'streamcodec[quality]', or [peers] for all")
    raise click.UsageError(f"these figures need {', '.join(missing)}: {'; '.join(ways)}")


def chosen_of(what: str, asked: str, known: list[str]) -> list[str]:
    """Names out of a comma-separated list. Raises click.BadParameter for an unknown one."""
    if asked == "all":
        return known
    names = [name.strip() for name in asked.split(",")]
    for name in names:
        if name not in known:
            raise click.BadParameter(f"no {what} {name!r}: {', '.join(known)}, or all")
    return names
