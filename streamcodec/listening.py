"""The address that a server listens on: what asyncio is given, what clients are shown, and why it
cannot be used.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import Iterator
from typing import Any

from .errors import ConfigError


def check_address(host: str, port: int) -> None:
    """Raises ConfigError for what is none, before anything is opened."""
    if not host:  # asyncio would listen on all addresses
        raise ConfigError("host must not be empty: 0.0.0.0 listens on all addresses")
    if not 0 <= port <= 65_535:
        raise ConfigError(f"port must be 0 to 65535, got {port}")


@contextlib.contextmanager
def listening_at(host: str, port: int, *, shared_port: bool = False) -> Iterator[dict[str, Any]]:
    """Gives the arguments with which asyncio's `create_server`, or websockets' `serve`, listens
    there; for `::` that is IPv4, too. shared_port: other processes of this user listen there, too.
    Raises ConfigError, one line, where the address cannot be used.
    """
    with _explained(host, port):
        if _is_any_ipv6(host) and socket.has_dualstack_ipv6():
            # asyncio would listen on IPv6 alone.
            yield {"sock": _bound(socket.AF_INET6, ("::", port), shared_port)}
        else:
            yield {"host": host, "port": port, "reuse_port": shared_port or None}


def held_port(host: str, port: int) -> socket.socket:
    """A socket that holds a port, to be shared, and does not listen: connections go to those that
    do. Raises ConfigError.
    """
    with _explained(host, port):
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _bound(family, address, shared_port=True)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def shown_url(host: str, port: int, *, tls: bool = False) -> tuple[str, str]:
    """-> a URL for clients of a server that listens there, and what is to be said besides: all
    addresses are none that could be connected to.
    """
    scheme = "wss" if tls else "ws"
    if _is_any_ipv6(host):
        both = "IPv4 and IPv6" if socket.has_dualstack_ipv6() else "IPv6"
        return f"{scheme}://[::1]:{port}", f" and on all addresses of this machine ({both})"
    if host == "0.0.0.0":  # noqa: S104
        return f"{scheme}://127.0.0.1:{port}", " and on all addresses of this machine (IPv4)"
    return f"{scheme}://{_bracketed(host)}:{port}", ""


def _bound(family: int, address: Any, shared_port: bool) -> socket.socket:
    """Of IPv4, too, where it is of IPv6 and all addresses."""
    with contextlib.ExitStack() as failing:
        bound = failing.enter_context(socket.socket(family, socket.SOCK_STREAM))
        if os.name == "posix":  # elsewhere it would let two servers have one port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared_port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            only = not (_is_any_ipv6(address[0]) and socket.has_dualstack_ipv6())
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        bound.bind(address)
        failing.pop_all()
    return bound


@contextlib.contextmanager
def _explained(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        said = f"cannot listen on {_bracketed(host)}:{port}: {_reason(error).lower()}"
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            said += (
                "; host must be an address of this machine, 0.0.0.0 for all of IPv4, "
                "or :: for all of IPv4 and IPv6"
            )
        raise ConfigError(said) from error
    except UnicodeError as error:  # asyncio encodes a host name before it is looked up
        raise ConfigError(
            f"cannot listen on {_bracketed(host)}:{port}: that is no host name"
        ) from error


def _is_any_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host) == ipaddress.IPv6Address("::")
    except ValueError:
        return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _reason(error: OSError) -> str:
    """The operating system's words: asyncio puts a sentence of its own around them. Errors of name
    resolution have negative numbers, which os.strerror does not know.
    """
    if error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)
