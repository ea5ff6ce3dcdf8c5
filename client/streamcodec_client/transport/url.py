"""Checks URLs of relays."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

from streamcodec.errors import ConfigError


def check_url(url: str) -> str:
    """-> the URL unchanged. Raises ConfigError unless it is ws://HOST:PORT or wss://HOST:PORT."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")  # what connecting would do with it
        parse_uri(url)
    except (ValueError, InvalidURI):
        valid = False
    if not valid and url.startswith(("http://", "https://")):
        raise ConfigError(
            f"{url!r} is a page's link: here write ws:// for http:// or wss:// for https://, "
            "without what follows the port, and --room NAME for ?room=NAME"
        )
    if not valid:
        raise ConfigError(
            "relay URL must be ws://HOST:PORT or wss://HOST:PORT, IPv6 as ws://[::1]:PORT, "
            f"got {url!r}"
        )
    return url


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
