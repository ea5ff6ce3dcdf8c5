"""Why an attempt to connect to a relay came to nothing, in one line."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from dataclasses import dataclass

from websockets.exceptions import (
    InvalidMessage,
    InvalidProxyMessage,
    InvalidProxyStatus,
    InvalidStatus,
    InvalidURI,
    NegotiationError,
    ProxyError,
    WebSocketException,
)

from streamcodec.errors import ConnectionRefused
from streamcodec.live.reconnect_events import Failed
from streamcodec.wire.session import SUBPROTOCOL

from .proxy import Proxy

# What opening may raise for reasons that lie outside this program.
OpeningError = OSError | TimeoutError | WebSocketException
# Answers that another attempt would get, too.
FINAL_HTTP_STATUS = frozenset({200, 400, 401, 403, 404, 405, 410, 426})
FINAL_PROXY_STATUS = frozenset({400, 401, 403, 404, 405, 407, 501})
# OpenSSL's names for an answer that is no TLS; which one depends on its first bytes.
NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL"})
# ... and for certificates of an authority that is not known here.
UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})
IS_IT_A_RELAY = "is it a streamcodec relay?"


@dataclass
class Progress:
    """How far an attempt came. reached: TCP is through (to the proxy, where there is one and it
    made no tunnel). encrypted: TLS is, too, or was not asked for. first_bytes: how the answer
    began.
    """

    reached: bool = False
    encrypted: bool = False
    first_bytes: bytes = b""


def failure(error: OpeningError, url: str, progress: Progress, proxy: Proxy | None) -> Failed:
    """What becomes of an attempt that raised `error`."""
    said, final = _said(error, url.startswith("wss:"), progress, proxy)
    if proxy is not None and str(proxy) not in said:
        said += f" (through the {proxy})"
    silent = isinstance(error, TimeoutError) and not progress.reached
    refusal = None
    if final:
        code = 1002 if isinstance(error, NegotiationError) else None
        refusal = ConnectionRefused(f"{url}: {said}", code)
        refusal.__cause__ = error
    return Failed(said, refusal, silent)


def _said(
    error: OpeningError, tls: bool, progress: Progress, proxy: Proxy | None
) -> tuple[str, bool]:
    """-> why, and whether it would be the same again."""
    match error:
        case InvalidProxyStatus():
            return _proxy_status(error.response.status_code, proxy)
        case InvalidProxyMessage():
            closed = isinstance(error.__cause__, EOFError)
            what = "closed the connection without an answer" if closed else "does not speak HTTP"
            return f"the {proxy} {what}", not closed
        case ProxyError():
            return f"the {proxy} failed: {error.__cause__ or error}", False
        case ssl.SSLCertVerificationError():
            said = f"the certificate is not trusted: {error.verify_message}"
            hint = " (--ca FILE names an authority of your own)"
            return said + hint * (error.verify_code in UNKNOWN_AUTHORITY), True
        case ssl.SSLError():
            if any(name in str(error) for name in NO_TLS):
                return "the server does not speak TLS: give a ws:// URL", True
            return f"TLS failed: {error}", False
        case NegotiationError():
            return f"the server does not speak {SUBPROTOCOL}", True
        case InvalidStatus():
            status = error.response.status_code
            spoken = re.search(rb"streamcodec\.v\d{1,3}\b", error.response.body or b"")
            if status == 426 and spoken:
                theirs = spoken[0].decode()
                return f"the relay speaks {theirs}, and this program {SUBPROTOCOL}", True
            if status in FINAL_HTTP_STATUS:
                return f"the server answers with HTTP {status}: {IS_IT_A_RELAY}", True
            return f"the server answers with HTTP {status}", False
        case InvalidURI() if error.uri.startswith("https:"):  # of a redirect
            return f"the server leads to {error.uri}: give a wss:// URL", True
        case InvalidURI():
            return f"the server leads elsewhere, to {error.uri}: {IS_IT_A_RELAY}", True
        case InvalidMessage() if progress.first_bytes:
            return f"the server does not speak HTTP: {IS_IT_A_RELAY}", True
        case InvalidMessage():
            return "the server closed the connection without an answer", False
        case TimeoutError():
            return _no_answer(tls, progress), False
        case OSError():
            return _system_error(error, tls, progress, proxy), False
    return str(error) or type(error).__name__, False


def _proxy_status(status: int, proxy: Proxy | None) -> tuple[str, bool]:
    final = status in FINAL_PROXY_STATUS
    if status == 407 and proxy is not None:
        return f"the {proxy} wants a password (HTTP 407): http://USER:PASSWORD@HOST:PORT", final
    if final:
        return f"the {proxy} refuses to connect us (HTTP {status})", final
    return f"the {proxy} cannot reach the relay (HTTP {status})", final


def _no_answer(tls: bool, progress: Progress) -> str:
    if not progress.reached:
        return "no answer"
    if tls and not progress.encrypted:
        return "the server accepts the connection and answers no TLS: is it ws://?"
    return "the server accepts the connection and says nothing"


def _system_error(error: OSError, tls: bool, progress: Progress, proxy: Proxy | None) -> str:
    who = f"the {proxy}" if proxy is not None and not progress.reached else ""
    if isinstance(error, socket.gaierror):
        what = "has no address" if who else "the host name has no address"
        return f"{who} {what} ({error.strerror})".lstrip()
    # asyncio puts a sentence of its own around the system's words, and makes one error of several.
    numbers = {error.errno} if error.errno else set(map(int, _numbers(str(error))))
    if numbers == {errno.ECONNREFUSED}:
        return f"{who} refused the connection" if who else "connection refused"
    if tls and progress.reached and not progress.encrypted:
        return "the server closed the connection before TLS was there: is it ws://?"
    words = ", ".join(os.strerror(number).lower() for number in sorted(numbers))
    said = words or str(error) or type(error).__name__
    return f"{who}: {said}" if who else said


def _numbers(text: str) -> list[str]:
    return re.findall(r"\[Errno (\d+)\]", text)
