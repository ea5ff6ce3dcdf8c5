"""What a client says first, and whether it may come in."""

from __future__ import annotations

import dataclasses

from streamcodec.errors import MalformedMessage, UnsupportedHello
from streamcodec.wire.message_json import parse_message
from streamcodec.wire.session import CloseCode, Hello

from .refused import Refused
from .tokens import Keys, TokenRefused


def hello_in(first: str | bytes) -> Hello:
    """The first message of a connection. Raises Refused."""
    if not isinstance(first, str):
        raise Refused(CloseCode.MALFORMED, "the first message must be a hello, not media")
    try:
        hello = parse_message(first)
    except UnsupportedHello as error:
        raise Refused(CloseCode.VERSION, str(error)) from error
    except MalformedMessage as error:
        raise Refused(CloseCode.MALFORMED, str(error)) from error
    if not isinstance(hello, Hello):
        raise Refused(CloseCode.MALFORMED, "the first message must be a hello")
    return hello


def allowed(hello: Hello, keys: Keys | None) -> tuple[Hello, bool]:
    """With the name that its token gives, and whether it moderates. keys: None asks for no token.
    Raises Refused.
    """
    if keys is None:
        return hello, False
    try:
        grant = keys.check(hello.token)
    except TokenRefused as refused:
        raise Refused(CloseCode.UNAUTHORIZED, str(refused)) from None
    for asked, granted, what in (
        (True, grant.covers(hello.room), f"join room {hello.room}"),
        (hello.role.talks, grant.publish, "talk"),
        (hello.role.listens, grant.subscribe, "listen"),
    ):
        if asked and not granted:
            raise Refused(CloseCode.FORBIDDEN, f"the token does not allow to {what}")
    return dataclasses.replace(hello, name=grant.name or hello.name), grant.moderate
