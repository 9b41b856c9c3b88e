"""Kafka record headers: CloudEvents in binary mode, the kind of content, the trace.

Invariant: what SAEC writes always names its content type; what it reads is optional.
"""

import re
from collections.abc import Iterable, Sequence
from enum import Enum
from functools import lru_cache

from saec.contracts.avro import MARKER

REQUESTER = "saec-requester"
"""Names the requester whose topic a record came from; `consumers.requesters` writes it."""
OURS = "saec-"
"""What the names of headers begin with that only SAEC's processes write."""

Headers = list[tuple[str, bytes]]
"""What SAEC writes."""

RawHeaders = Iterable[tuple[str, bytes | None]] | None
"""What SAEC may be given."""

CopiedHeaders = Sequence[tuple[str, bytes | None]]
"""What SAEC writes, with what it passes on as it came."""

_TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_AVRO_TYPES = frozenset(
    {b"application/avro", b"avro/binary", b"application/vnd.apache.avro", b"application/x-avro"}
)


class ContentKind(Enum):
    """How a value is written."""

    JSON = "json"
    AVRO = "avro"


def cloud_event(type_: str, source: str, id_: str, traceparent: str | None = None) -> Headers:
    """The headers of an Avro value: `type_` such as saec.v1.DispatchMessage, `source` a path."""
    headers = [*_same(type_, source), ("ce_id", id_.encode())]
    if traceparent is not None:
        headers.append(("traceparent", traceparent.encode()))
    return headers


@lru_cache(maxsize=64)
def _same(type_: str, source: str) -> Headers:
    """What all events of a type from a source have in common."""
    return [
        ("content-type", b"application/avro"),
        ("ce_specversion", b"1.0"),
        ("ce_source", source.encode()),
        ("ce_type", type_.encode()),
    ]


def content_kind(headers: RawHeaders, value: bytes) -> ContentKind:
    """By the content-type header where it names one of the two, else by the first bytes."""
    media_type = _media_type(headers)
    if media_type == b"application/json" or media_type.endswith(b"+json"):
        return ContentKind.JSON
    if media_type in _AVRO_TYPES or value.startswith(MARKER):
        return ContentKind.AVRO
    return ContentKind.JSON


def bound_requester(headers: RawHeaders) -> bytes | None:
    """The requester that a record may name, if it may name only one; empty: none at all."""
    found = [value for name, value in headers or () if name == REQUESTER]
    if not found:
        return None
    return (found[0] or b"") if len(found) == 1 else b""


def traceparent(headers: RawHeaders) -> str | None:
    """The W3C trace context, if there is exactly one and it is valid."""
    found = [value for name, value in headers or () if name.lower() == "traceparent"]
    if len(found) != 1 or not isinstance(found[0], bytes) or not _TRACEPARENT.fullmatch(found[0]):
        return None
    return found[0].decode("ascii")


def _media_type(headers: RawHeaders) -> bytes:
    for name, value in headers or ():
        if name.lower() == "content-type" and isinstance(value, bytes):
            return value.partition(b";")[0].strip().lower()
    return b""
