"""Options that belong together reach a command as one value, not as a parameter each."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]


def grouped(parameter: str, make: Callable[..., object], *options: Decorator) -> Decorator:
    """A decorator that adds `options` (of click.option) to a command, in this order, and calls the
    command with `parameter`: what `make` returns for their values.

    Each option is named after the parameter of `make` that takes its value. `make` may raise
    click.UsageError for values that do not go together.
    """
    names = list(inspect.signature(make).parameters)

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def called_by_click(**values: Any) -> Any:
            made = make(**{name: values.pop(name) for name in names})
            return command(**values, **{parameter: made})

        decorated: Command = called_by_click
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate
