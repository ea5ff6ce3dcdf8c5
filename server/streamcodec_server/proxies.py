"""Proxies in front of a relay: whose client a connection really is."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from streamcodec.errors import ConfigError

from .addresses import network_of


class Proxies:
    """Those whose word is taken for it, in `X-Forwarded-For`: each appends the address that it was
    connected from. What stands before the last address that is not a proxy's may be forged.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """networks: addresses, or networks such as 10.0.0.0/8. Raises ConfigError."""
        try:
            self._networks = [ipaddress.ip_network(network) for network in networks]
        except ValueError as error:
            raise ConfigError(
                f"a proxy is an address or a network such as 10.0.0.0/8: {error}"
            ) from error

    def include(self, host: str) -> bool:
        """Whether a connection from there is a proxy's."""
        return self._is_proxy(_address(host))

    def client(self, forwarded: Sequence[str]) -> str | None:
        """The lines of X-Forwarded-For -> what limits count its client by; None where no client is
        named.
        """
        named = [part.strip() for line in forwarded for part in line.split(",")]
        for host in reversed(named):
            address = _address(host)
            if address is None:
                return None
            if not self._is_proxy(address):
                return network_of(str(address))
        return None

    def _is_proxy(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """With a port or without; None for what is no address."""
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped
