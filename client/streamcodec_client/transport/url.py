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
    if not valid:
        of_page = url.startswith(("http://", "https://"))
        raise ConfigError(
            "relay URL must be ws://HOST:PORT or wss://HOST:PORT, IPv6 as ws://[::1]:PORT, "
            f"got {url!r}"
            + ("; for a page's link write ws for http, and --room NAME for ?room=NAME" * of_page)
        )
    return url


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
