"""What a new member is told of those who talk, in messages of the size that is allowed."""

from __future__ import annotations

import dataclasses

from streamcodec.errors import MalformedMessage
from streamcodec.wire.message_json import serialize_message
from streamcodec.wire.session import StreamStart, Welcome


def introduce(welcome: Welcome, streams: list[StreamStart]) -> list[str]:
    """The welcome with as many streams as one message holds, and a stream_start for each of the
    rest.
    """
    low, high = 0, len(streams)  # it holds `low`, but not more than `high`
    texts = {0: serialize_message(welcome)}
    while low < high:
        count = (low + high + 1) // 2
        whole = dataclasses.replace(welcome, streams=tuple(streams[:count]))
        try:
            texts[count] = serialize_message(whole)
            low = count
        except MalformedMessage:
            high = count - 1
    return [texts[low], *(serialize_message(s) for s in streams[low:])]
