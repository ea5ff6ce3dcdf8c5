"""Which proxy leads to a relay: the environment says, on Windows and macOS the system, too."""

from __future__ import annotations

import importlib.util
import os
import re
import urllib.request
from dataclasses import dataclass
from urllib.parse import urlsplit

from websockets.asyncio.client import HTTPProxyConnection
from websockets.exceptions import InvalidProxy
from websockets.proxy import parse_proxy

from streamcodec.errors import ConfigError

from .url import is_loopback

# Which of the environment's proxies are for which relays, the most precise first; as `websockets`
# has it (RFC 6455, section 4.1), and all_proxy last, as curl has it.
SCHEMES = {"ws": ("ws", "socks", "https", "http", "all"), "wss": ("wss", "socks", "https", "all")}
FORMS = "http://, https:// or socks5://[USER:PASSWORD@]HOST:PORT"
PORTS = {"ws": 80, "wss": 443}


@dataclass(frozen=True)
class Proxy:
    """url: for `websockets`. host, port: where the proxy listens. variable: the environment
    variable that names it.
    """

    url: str
    host: str
    port: int
    variable: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"proxy {host}:{self.port} ({self.variable})"


def proxy_for(url: str) -> Proxy | None:
    """The proxy between us and the relay at `url`; None for none. What runs on this machine, and
    what no_proxy names, is reached without one. Raises ConfigError, naming the variable, for a
    proxy that cannot be used.
    """
    relay = urlsplit(url)
    host, port = relay.hostname or "", relay.port or PORTS[relay.scheme]
    if is_loopback(host) or urllib.request.proxy_bypass(f"{host}:{port}"):
        return None
    proxies = urllib.request.getproxies()
    scheme = next((name for name in SCHEMES[relay.scheme] if proxies.get(name)), None)
    if scheme is None:
        return None
    named, variable = proxies[scheme], _variable(scheme)
    if scheme == "socks" and named.startswith("http://"):  # as some systems have it
        named = named.replace("http", "socks5h", 1)
    try:
        parsed = parse_proxy(named)
        parsed.host.encode("idna")  # what connecting would do with it
    except (InvalidProxy, ValueError) as error:
        shown = re.sub(r"//[^/]*@", "//***@", named)  # a password is nobody's business
        raise ConfigError(f"{variable} must be {FORMS}, got {shown!r}") from error
    if parsed.scheme.startswith("socks") and importlib.util.find_spec("python_socks") is None:
        raise ConfigError(
            f"{variable} names a SOCKS proxy: pip install python-socks, or name {host} in no_proxy"
        )
    return Proxy(named, parsed.host, parsed.port, variable)


def _variable(scheme: str) -> str:
    """The name by which the user knows a proxy. Lower case comes first, as in urllib."""
    name = f"{scheme}_proxy"
    found = sorted(
        (key for key in os.environ if key.lower() == name and os.environ[key]), reverse=True
    )
    return found[0] if found else f"the system's {scheme} proxy"


def _connection_lost(self: HTTPProxyConnection, exc: Exception | None) -> None:
    """Replaces HTTPProxyConnection.connection_lost of websockets 17, which feeds its reader the end
    of the stream a second time where the proxy has closed: that raises EOFError, and asyncio prints
    a traceback for each attempt.
    """
    if not self.response.done():
        self.reader.feed_eof()
        self.run_parser()


HTTPProxyConnection.connection_lost = _connection_lost  # type: ignore[method-assign]
