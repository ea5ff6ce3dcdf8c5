"""Tokens: who may do what in which room, signed with keys that the operator gives (JWT, RFC 7519,
HS256).

A file of keys is TOML: a table `keys` of secrets by id, the newest last. New tokens are signed with
the last one; all of them are accepted, so a key is replaced by adding one and removing the old one
when its tokens have expired.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import re
import secrets
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import jwt

from streamcodec.errors import ConfigError, StreamcodecError
from streamcodec.wire.session import is_printable

ALGORITHM = "HS256"
LEAST_SECRET_CHARACTERS = 32
LEEWAY_S = 5.0  # by which clocks may differ


class TokenRefused(StreamcodecError):
    """A token that is missing, or that no key of ours has signed, or that has expired."""


@dataclasses.dataclass(frozen=True)
class Grant:
    """rooms: names, or patterns with * and ?. publish, subscribe: to talk and to listen there.
    moderate: to see who is there, to silence and to remove. name: what others see, "" for what the
    client says.
    """

    rooms: tuple[str, ...]
    publish: bool = True
    subscribe: bool = True
    name: str = ""
    moderate: bool = False

    def covers(self, room: str) -> bool:
        return any(fnmatch.fnmatchcase(room, pattern) for pattern in self.rooms)

    def covered(self, rooms: Collection[str]) -> set[str]:
        """Those of many that it covers, in a tenth of the time."""
        patterns = (re.compile(fnmatch.translate(pattern)) for pattern in self.rooms)
        return {room for pattern in patterns for room in filter(pattern.match, rooms)}


class Keys:
    """Of a file that may change while the relay runs."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError where the file cannot be read, or holds no keys."""
        self._path = path
        self._read_at = self._stamp()
        self._keys = _read(path)

    def refresh(self) -> str | None:
        """Reads a file that has changed -> why that failed: then the keys of before stay."""
        stamp = self._stamp()
        if stamp == self._read_at:
            return None
        self._read_at = stamp
        try:
            self._keys = _read(self._path)
        except ConfigError as error:
            return str(error)
        return None

    def sign(self, grant: Grant, expires_s: float, now_s: float) -> str:
        """A token for so long from now (seconds since 1970)."""
        number, secret = next(reversed(self._keys.items()))
        claims: dict[str, Any] = {
            "rooms": list(grant.rooms),
            "publish": grant.publish,
            "subscribe": grant.subscribe,
            "iat": int(now_s),
            "exp": int(now_s + expires_s),
        }
        if grant.moderate:
            claims["moderate"] = True
        if grant.name:
            claims["name"] = grant.name
        return jwt.encode(claims, secret, ALGORITHM, headers={"kid": number})

    def check(self, token: str) -> Grant:
        """What a token allows. Raises TokenRefused."""
        if not token:
            raise TokenRefused("this relay asks for a token")
        try:
            number = jwt.get_unverified_header(token).get("kid")
            if number not in self._keys:
                raise TokenRefused("no key of this relay has signed this token")
            claims = jwt.decode(
                token,
                self._keys[number],
                algorithms=[ALGORITHM],
                leeway=LEEWAY_S,
                options={"require": ["exp"]},
            )
        except jwt.ExpiredSignatureError:
            raise TokenRefused("the token has expired") from None
        except jwt.MissingRequiredClaimError:
            raise TokenRefused("the token never expires: it needs exp") from None
        except jwt.PyJWTError:
            raise TokenRefused("no key of this relay has signed this token") from None
        return _grant_of(claims)

    def _stamp(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return 0, 0
        return found.st_mtime_ns, found.st_size


def new_key(number: str) -> str:
    """A line for a file of keys. Raises ConfigError for an id that no such line can hold."""
    if not number or not is_printable(number):
        raise ConfigError(
            f"the id of a key must be one or more printable characters, got {number!r}"
        )
    escaped = number.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" = "{secrets.token_urlsafe(48)}"'


def _read(path: Path) -> dict[str, str]:
    try:
        keys = tomllib.loads(path.read_text(encoding="utf-8")).get("keys")
    except OSError as error:
        raise ConfigError(f"keys {path}: {error.strerror}") from error
    except (ValueError, UnicodeError) as error:
        raise ConfigError(f"keys {path} is no TOML: {error}") from error
    if not isinstance(keys, dict) or not keys:
        raise ConfigError(f'keys {path} needs a table [keys] of secrets by id: id = "secret"')
    for number, secret in keys.items():
        if not isinstance(secret, str) or len(secret) < LEAST_SECRET_CHARACTERS:
            raise ConfigError(
                f"keys {path}: the secret of {number!r} must be text of at least "
                f"{LEAST_SECRET_CHARACTERS} characters"
            )
    return keys


def _grant_of(claims: dict[str, Any]) -> Grant:
    rooms, name = claims.get("rooms"), claims.get("name", "")
    flags = [claims.get(what, False) for what in ("publish", "subscribe", "moderate")]
    if isinstance(rooms, str):
        rooms = [rooms]
    if not isinstance(rooms, list) or not all(isinstance(room, str) for room in rooms):
        raise TokenRefused("the token must name its rooms")
    if not all(isinstance(flag, bool) for flag in flags) or not isinstance(name, str):
        raise TokenRefused(
            "publish, subscribe and moderate of a token are true or false, its name is text"
        )
    publish, subscribe, moderate = flags
    return Grant(tuple(rooms), publish, subscribe, name, moderate)
