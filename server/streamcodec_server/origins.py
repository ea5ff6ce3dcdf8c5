"""Whose scripts may connect to a relay that serves a page: the page's own, by the request's Origin
and Host (RFC 6454; RFC 9110, section 7.2).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Sequence

UNKNOWN = "this relay does not know the page that connects"
HOST = r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
SCHEME = r"(?P<scheme>https?)://"
DEFAULT_PORTS = {"http": "80", "https": "443"}


def is_own(origin: str, hosts: Sequence[str]) -> bool:
    """hosts: all that the request has. Whether the page came from where it connects to, and nobody
    else can have given it: anybody's domain may point at this machine for a moment (DNS rebinding),
    so names other than localhost are for the operator to name. Schemes are not compared: a proxy
    may have ended TLS.
    """
    page = re.fullmatch(SCHEME + HOST, origin, re.IGNORECASE)
    relay = re.fullmatch(HOST, hosts[0], re.IGNORECASE) if len(hosts) == 1 else None
    if page is None or relay is None:
        return False
    host, port = page["host"].lower(), DEFAULT_PORTS[page["scheme"].lower()]
    same = host == relay["host"].lower() and (page["port"] or port) == (relay["port"] or port)
    return same and _cannot_be_rebound(host)


def is_known_host(hosts: Sequence[str], origins: Collection[str]) -> bool:
    """hosts: all that the request has. Whether the relay is asked under an address, or under a name
    that the operator gave (origins). Browsers say no Origin where a page asks where it came from,
    so a page of somebody's domain that points here would be answered, too, and could read that.
    """
    relay = re.fullmatch(HOST, hosts[0], re.IGNORECASE) if len(hosts) == 1 else None
    if relay is None:
        return False
    host = relay["host"].lower()
    pages = (re.fullmatch(SCHEME + HOST, origin, re.IGNORECASE) for origin in origins)
    return _cannot_be_rebound(host) or host in {page["host"].lower() for page in pages if page}


def how_to_know(origin: str) -> str:
    """What the operator of a relay with a page does about an origin that is refused."""
    if re.fullmatch(SCHEME + HOST, origin, re.IGNORECASE) is None:
        return UNKNOWN
    return f"{UNKNOWN}; if it is its own, under this name, start the relay with --origin {origin}"


def _cannot_be_rebound(host: str) -> bool:
    """Addresses, and names that browsers look up nowhere (RFC 6761, section 6.3)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
