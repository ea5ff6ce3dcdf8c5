"""SFrame (RFC 9605): authenticated encryption of media for those who share a key, with the cipher
suite AES_128_CTR_HMAC_SHA256_32, whose tags take 4 bytes.

Source: RFC 9605, sections 4.4 and 4.5. The header of SFrame, which names key and counter, is part
of what is authenticated, but is not sent: who receives knows both (see `encryption`).
"""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from streamcodec.errors import MalformedPacket

CIPHER_SUITE = 3  # AES_128_CTR_HMAC_SHA256_32
ENCRYPTION_KEY_BYTES, AUTHENTICATION_KEY_BYTES = 16, 32  # Nka and Nh; their sum is Nk
NONCE_BYTES, TAG_BYTES = 12, 4  # Nn and Nt
INLINE = 8  # key ids and counters below it stand in the header's first byte
HASH = "sha256"


class NotOpened(MalformedPacket):
    """What was received was encrypted with another key, or changed on the way, or came before."""


class SFrame:
    """One sender's key."""

    def __init__(self, base_key: bytes, key_id: int) -> None:
        """base_key: what all senders and receivers share, 16 bytes. key_id: of this sender, 0 to
        2^64 - 1, never used with the same counters by another one.
        """
        secret = hmac.digest(b"", base_key, HASH)
        label = key_id.to_bytes(8, "big") + CIPHER_SUITE.to_bytes(2, "big")
        size = ENCRYPTION_KEY_BYTES + AUTHENTICATION_KEY_BYTES
        key = _expanded(secret, b"SFrame 1.0 Secret key " + label, size)
        salt = _expanded(secret, b"SFrame 1.0 Secret salt " + label, NONCE_BYTES)
        self._aes = AES(key[:ENCRYPTION_KEY_BYTES])
        self._authentication_key = key[ENCRYPTION_KEY_BYTES:]
        self._salt = int.from_bytes(salt, "big")
        self._key_id = key_id

    def seal(self, counter: int, metadata: bytes, plain: bytes) -> bytes:
        """-> ciphertext and tag. No two texts may have the same counter. metadata: is authenticated
        with it, and must be the same when it is opened.
        """
        nonce = self._nonce(counter)
        cipher = self._crypted(nonce, plain)
        return cipher + self._tag(nonce, counter, metadata, cipher)

    def open(self, counter: int, metadata: bytes, sealed: bytes) -> bytes:
        """Raises NotOpened."""
        nonce = self._nonce(counter)
        cipher, tag = sealed[:-TAG_BYTES], sealed[-TAG_BYTES:]
        if not hmac.compare_digest(tag, self._tag(nonce, counter, metadata, cipher)):
            raise NotOpened("it was encrypted with another key, or changed on the way")
        return self._crypted(nonce, cipher)

    def _nonce(self, counter: int) -> bytes:
        return (self._salt ^ counter).to_bytes(NONCE_BYTES, "big")

    def _crypted(self, nonce: bytes, text: bytes) -> bytes:
        """Encrypting and decrypting in counter mode are the same."""
        crypt = Cipher(self._aes, CTR(nonce + bytes(4))).encryptor()
        return crypt.update(text)

    def _tag(self, nonce: bytes, counter: int, metadata: bytes, cipher: bytes) -> bytes:
        authenticated = header(self._key_id, counter) + metadata
        sizes = [len(authenticated), len(cipher), TAG_BYTES]
        lengths = b"".join(size.to_bytes(8, "big") for size in sizes)
        text = lengths + nonce + authenticated + cipher
        return hmac.digest(self._authentication_key, text, HASH)[:TAG_BYTES]


def header(key_id: int, counter: int) -> bytes:
    """SFrame's header (RFC 9605, section 4.3)."""
    first, rest = 0, b""
    for value, shift in ((key_id, 4), (counter, 0)):
        if value < INLINE:
            first |= value << shift
        else:
            size = (value.bit_length() + 7) // 8
            first |= (INLINE | (size - 1)) << shift
            rest += value.to_bytes(size, "big")
    return bytes([first]) + rest


def _expanded(secret: bytes, label: bytes, size: int) -> bytes:
    """HKDF-Expand (RFC 5869)."""
    made = block = b""
    while len(made) < size:
        block = hmac.digest(secret, block + label + bytes([len(made) // 32 + 1]), HASH)
        made += block
    return made[:size]
