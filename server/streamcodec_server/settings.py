"""What a relay is told: where it listens, what it accepts, and how long it waits."""

from __future__ import annotations

import dataclasses

from streamcodec.errors import ConfigError
from streamcodec.listening import check_address
from streamcodec.wire.session import MAX_NAME_CHARACTERS, is_printable

from .certificate import Certificate
from .limits import RoomLimits
from .pages import Page
from .proxies import Proxies
from .tokens import Keys


@dataclasses.dataclass(frozen=True)
class RelayConfig:
    """Where the relay listens (port 0: any free one), what it accepts, and how long it waits: for a
    hello, for a connection to close, between pings, for a sign of life after a ping, and for a
    client to take anything of what is written. origins: of the web pages (scheme://host[:port])
    whose scripts may connect. keys: of the tokens that it asks for; None: it asks for none.
    certificate: of TLS; None: plain ws://. proxies: whose word about clients' addresses is taken.
    nats: URL of the message bus over which rooms span relays. page: for browsers, which the relay
    serves itself, and whose scripts may connect; None: it serves none. Raises ConfigError.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    limits: RoomLimits = dataclasses.field(default_factory=RoomLimits)
    origins: frozenset[str] = frozenset()
    keys: Keys | None = None
    certificate: Certificate | None = None
    proxies: Proxies = dataclasses.field(default_factory=Proxies)
    nats: str | None = dataclasses.field(default=None, repr=False)
    page: Page | None = dataclasses.field(default=None, repr=False)
    hello_timeout_s: float = 5.0
    close_timeout_s: float = 2.0
    ping_interval_s: float = 10.0
    ping_timeout_s: float = 20.0
    stuck_timeout_s: float = 10.0
    # The kernel says that there is room only when a third of its buffer is free: on a line of 24
    # kbit/s that takes a minute.
    download_timeout_s: float = 120.0

    def __post_init__(self) -> None:
        check_address(self.host, self.port)
        for name in (
            *("hello_timeout_s", "close_timeout_s", "ping_interval_s", "ping_timeout_s"),
            *("stuck_timeout_s", "download_timeout_s"),
        ):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, got {getattr(self, name):g}")
        if not 20 <= self.limits.max_queue_ms <= 10_000:
            raise ConfigError(f"max queue must be 20 to 10000 ms, got {self.limits.max_queue_ms:g}")
        if not 1 <= self.limits.max_talkers <= 128:
            raise ConfigError(f"max talkers must be 1 to 128, got {self.limits.max_talkers}")
        if self.limits.rooms is not None and not self.limits.rooms:
            raise ConfigError(
                "the list of rooms is empty: name at least one, or leave the list out, so that "
                "the first member of a room creates it"
            )
        for room in self.limits.rooms or ():
            if len(room) > MAX_NAME_CHARACTERS or not is_printable(room):
                raise ConfigError(
                    f"names of rooms have at most {MAX_NAME_CHARACTERS} printable characters, "
                    f"got {room!r}"
                )
        if self.limits.addresses.connections < 1:
            raise ConfigError(
                f"max connections must be at least 1, got {self.limits.addresses.connections}"
            )
        for origin in self.origins:
            if "://" not in origin or origin.endswith("/"):
                raise ConfigError(f"origins are written https://example.org[:port], got {origin!r}")
