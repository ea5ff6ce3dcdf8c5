"""What comes from one address: how many connections, new rooms and joins. Knows no clock: times are
arguments.
"""

from __future__ import annotations

import dataclasses
import ipaddress

from .budget import Budget, Spent

V6_NETWORK_BITS = 64  # what one subscriber of IPv6 has
KEPT_MS = 60_000.0  # budgets are forgotten after so long without a connection


@dataclasses.dataclass(frozen=True)
class AddressLimits:
    """Of one address (of IPv6, a /64): connections at once, those that say no hello included;
    connections and new rooms a second on average, and so many at once; talkers in one room.
    """

    connections: int = 256
    connects_per_s: float = 20.0
    connects_at_once: int = 256
    rooms_per_s: float = 1.0
    rooms_at_once: int = 32
    talkers_in_a_room: int = 16


NO_ADDRESS_LIMITS = AddressLimits(1 << 30, 1e9, 1 << 30, 1e9, 1 << 30, 1 << 30)


@dataclasses.dataclass(eq=False)
class _Seen:
    connects: Budget
    rooms: Budget
    connections: int = 0
    left_ms: float = 0.0


class Addresses:
    """Addresses that are connected, or were a short time ago."""

    def __init__(self, limits: AddressLimits) -> None:
        self._limits = limits
        self._seen: dict[str, _Seen] = {}
        self._swept_ms = 0.0

    def __len__(self) -> int:
        return len(self._seen)

    def connect(self, address: str, now_ms: float) -> bool:
        """A connection came. False: it is too many, and must be ended; `disconnect` counts either
        way.
        """
        self._sweep(now_ms)
        seen = self._of(address)
        seen.connections += 1
        allowed = seen.connects.spend(1, now_ms) is Spent.WITHIN
        return allowed and seen.connections <= self._limits.connections

    def disconnect(self, address: str, now_ms: float) -> None:
        seen = self._of(address)
        seen.connections -= 1
        seen.left_ms = now_ms

    def may_open_room(self, address: str, now_ms: float) -> bool:
        """Whether somebody there may open one more room now."""
        return self._of(address).rooms.spend(1, now_ms) is Spent.WITHIN

    def _of(self, address: str) -> _Seen:
        if (seen := self._seen.get(address)) is None:
            limits = self._limits
            seen = self._seen[address] = _Seen(
                Budget(limits.connects_per_s, limits.connects_at_once),
                Budget(limits.rooms_per_s, limits.rooms_at_once),
            )
        return seen

    def _sweep(self, now_ms: float) -> None:
        """Forgets who has been gone for long."""
        if now_ms - self._swept_ms < KEPT_MS:
            return
        self._swept_ms = now_ms
        for address, seen in list(self._seen.items()):
            if not seen.connections and now_ms - seen.left_ms > KEPT_MS:
                del self._seen[address]


def network_of(host: str) -> str:
    """What limits count by: an IPv4 address, or the network of an IPv6 one."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((address, V6_NETWORK_BITS), strict=False))
    return str(address)
