"""What a client of the gateway asks for in its URL."""

from __future__ import annotations

import dataclasses
from urllib.parse import parse_qsl, unquote, urlsplit

from streamcodec.errors import ConfigError
from streamcodec.wire.session import Role

from ..live.member import check_label

MIN_RATE, MAX_RATE = 8_000, 48_000
RATE_STEP = 50  # so that 20 ms are a whole number of samples
FORM = "/ROOM?name=NAME&rate=16000&role=talk|listen|both"


@dataclasses.dataclass(frozen=True)
class Request:
    """rate: of PCM in both directions, Hz."""

    room: str
    name: str = "gateway"
    rate: int = 16_000
    role: Role = Role.BOTH


def parse_request(path: str) -> Request:
    """Path and query of a URL, of the form FORM. Raises ConfigError naming what was wrong."""
    parts = urlsplit(path)
    room = unquote(parts.path.removeprefix("/"))
    fields = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(set(fields) - {"name", "rate", "role"}):
        raise ConfigError(f"unknown parameter {', '.join(unknown)}: give {FORM}")
    name = fields.get("name", Request.name)
    for what, text in (("room", room), ("name", name)):
        try:
            check_label(what, text)
        except ConfigError as error:
            raise ConfigError(f"{error}: give {FORM}") from error
    rate = fields.get("rate", str(Request.rate))
    valid = rate.isascii() and rate.isdecimal() and len(rate) <= len(str(MAX_RATE))
    if not valid or not MIN_RATE <= int(rate) <= MAX_RATE or int(rate) % RATE_STEP:
        raise ConfigError(
            f"rate must be {MIN_RATE} to {MAX_RATE} Hz, in steps of {RATE_STEP}, got {rate!r}"
        )
    role = fields.get("role", Request.role)
    if role not in list(Role):
        raise ConfigError(f"role must be one of {', '.join(Role)}, got {role!r}")
    return Request(room, name, int(rate), Role(role))
