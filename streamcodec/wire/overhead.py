"""How many bytes a media packet takes on the line beyond its payload."""

from __future__ import annotations

from .packet import HEADER_BYTES
from .short_headers import SHORT_HEADER_BYTES

TCP_IP_BYTES = 52  # IPv4 20, TCP 20 and its timestamps 12, for packets that are sent one by one
TLS_BYTES = 22  # TLS 1.3 with AES-GCM
MASK_BYTES = 4  # of websocket frames from client to relay (RFC 6455)
LONG_FRAME_BYTES = 126  # from this message size on, a websocket frame's length takes 2 bytes more

OVERHEAD_NOTE = (
    f"wire: payload + header {SHORT_HEADER_BYTES} B (the first ones {HEADER_BYTES}) + websocket "
    f"frame 2-8 B + TCP/IP {TCP_IP_BYTES} B (+ TLS {TLS_BYTES} B) a packet"
)


def wire_bytes(message_bytes: int, *, to_relay: bool, tls: bool) -> int:
    """Bytes of one message (payload and media header) with websocket frame, TLS if used, TCP and
    IPv4. Not counted: Ethernet, acknowledgements, retransmissions.
    """
    frame = (2 if message_bytes < LONG_FRAME_BYTES else 4) + (MASK_BYTES if to_relay else 0)
    return TCP_IP_BYTES + (TLS_BYTES if tls else 0) + frame + message_bytes
