"""A relay's certificate: read again when it has been renewed."""

from __future__ import annotations

import ssl
from pathlib import Path

from streamcodec.errors import ConfigError


class Certificate:
    """`context` is what a server takes. Connections made before a renewal keep the old one."""

    def __init__(self, chain: Path, key: Path) -> None:
        """chain: the certificate with those between it and the authority; both PEM. Raises
        ConfigError where they cannot be read, or do not belong together.
        """
        self._chain, self._key = chain, key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._read_at = self._stamp()
        self._load()

    def refresh(self) -> str | None:
        """Reads files that have changed -> why that failed: then the certificate of before
        stays.
        """
        stamp = self._stamp()
        if stamp == self._read_at:
            return None
        try:
            self._load()
        except ConfigError as error:
            return str(error)  # they may be half written: it is tried again
        self._read_at = stamp
        return None

    def _load(self) -> None:
        for path in (self._chain, self._key):
            try:
                path.read_bytes()
            except OSError as error:
                raise ConfigError(f"certificate: {path}: {error.strerror}") from error
        try:
            # Not into the context at once: a pair that does not fit would leave it half changed.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._chain, self._key)
            self.context.load_cert_chain(self._chain, self._key)
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, "reason", None) or str(error)
            raise ConfigError(
                f"certificate {self._chain} and key {self._key} cannot be used: {reason}"
            ) from error

    def _stamp(self) -> tuple[int, ...]:
        times = []
        for path in (self._chain, self._key):
            try:
                times.append(path.stat().st_mtime_ns)
            except OSError:
                times.append(0)
        return tuple(times)
