"""Keys of the HTTP endpoint: their text, what of it is stored, and what a key may do.

Invariant: the secret is in the text alone. What is stored tells neither, and no error quotes one.
"""

import hashlib
import hmac
import re
import secrets
from enum import StrEnum

_ID_BYTES = 6
_SECRET_BYTES = 32
_KEY_ID = f"[0-9a-f]{{{2 * _ID_BYTES}}}"
# A fixed beginning and a fixed length: secret scanners find a key that was published.
_TEXT = re.compile(f"saec_({_KEY_ID})_([0-9a-f]{{{2 * _SECRET_BYTES}}})")
_ID = re.compile(_KEY_ID)


class Scope(StrEnum):
    """What a key may do."""

    SCHEDULE = "schedule"
    """Schedule, and cancel, in its requester's name."""
    READ = "read"
    """Read its requester's requests."""
    OPERATE = "operate"
    """Read every requester's requests, and all that is pending."""


def new_key() -> tuple[str, str, bytes]:
    """A new key: its text, its id, and the hash of its secret, which alone is to be stored."""
    key_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES)
    return f"saec_{key_id}_{secret}", key_id, hash_of(secret)


def parse(text: str) -> tuple[str, str] | None:
    """The id and the secret in a key's text; None when it is no key's."""
    match = _TEXT.fullmatch(text)
    return (match[1], match[2]) if match else None


def is_key_id(text: str) -> bool:
    """Whether a text has the form of a key's id."""
    return _ID.fullmatch(text) is not None


def hash_of(secret: str) -> bytes:
    """The 32 bytes that are stored of a secret.

    SHA-256 is enough. A slow hash is for passwords, which can be guessed; nobody guesses 256 random
    bits, and every request pays for the hash.
    """
    return hashlib.sha256(secret.encode()).digest()


def matches(secret: str, secret_hash: bytes) -> bool:
    """Whether this is the secret that was stored; how long that takes tells nothing."""
    return hmac.compare_digest(hash_of(secret), secret_hash)
