"""Whom a client trusts behind a wss:// URL."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from streamcodec.errors import ConfigError

PROBE_S = 2.0


def tls_context(url: str, ca: Path | None = None) -> ssl.SSLContext | None:
    """None for ws://. `ca`: PEM file with the certificates of the only authorities that are
    trusted; without it, those of the system, or of SSL_CERT_FILE and SSL_CERT_DIR, which OpenSSL
    reads. Raises ConfigError for a file that is missing or holds no certificate, and for a `ca`
    where there is no TLS.
    """
    if urlsplit(url).scheme != "wss":
        if ca is not None:
            raise ConfigError(f"certificate authorities (ca) are for wss:// URLs, got {url}")
        return None
    named = os.environ.get("SSL_CERT_FILE")
    if ca is not None:
        return _trusting(ca, "--ca")
    if named:  # OpenSSL would not say that it cannot read it, and then trust nobody
        _trusting(Path(named), "SSL_CERT_FILE")
    return ssl.create_default_context()


def _trusting(file: Path, setting: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=file)
    except ssl.SSLError as error:
        raise ConfigError(
            f"{setting}: {file} holds no certificate; PEM is wanted (BEGIN CERTIFICATE)"
        ) from error
    except OSError as error:
        raise ConfigError(f"{setting}: cannot read {file}: {error.strerror}") from error


async def speaks_tls(host: str, port: int) -> bool:
    """Whether a server answers in TLS, whoever it is. Takes 2 s at most."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(PROBE_S):
            _, writer = await asyncio.open_connection(host, port, ssl=anybody)
    except ssl.SSLError as error:
        return "ALERT" in str(error)  # it refuses us, in TLS
    except OSError:  # TimeoutError included
        return False
    writer.transport.abort()
    return True
