"""What is right, however odd: events, keys, headers and timestamps; and cancels out of turn."""

import base64
from collections.abc import Iterator
from typing import Any

from saec.contracts import varint
from saec.contracts.headers import CopiedHeaders
from saec.contracts.status import Status
from saec.errors import Reason
from tests.hostile.case import (
    ACCEPTED,
    DUE_MS,
    MAX_BYTES,
    SECRET,
    Answer,
    Case,
    good,
    good_avro,
    rejected,
    request_id,
    text,
)


def accepted() -> Iterator[Case]:
    name = "doubled customers"
    yield Case(name, good(name, customers=["42", "43", "42"]), None, (ACCEPTED,))
    name = "doubled channels"
    yield Case(name, good(name, channels=["EMAIL", "EMAIL"]), None, (ACCEPTED,))
    name = "whitespace around it"
    yield Case(name, b"\r\n " + good(name) + b"\t\n", None, (ACCEPTED,))
    name = "escaped pair of surrogates"
    yield Case(name, good(name, campaign_id="\U0001f600"), None, (ACCEPTED,))
    name = "hostile body"
    body = "'; DROP TABLE pending; -- {{7*7}} ${jndi:x} \u202e\ufeff\x1b[2J\r\n"
    message = {"body": body, "content_type": "text/plain"}
    yield Case(name, good(name, message=message), None, (ACCEPTED,))
    name = "any bytes as a body"
    message = {
        "body_base64": base64.b64encode(bytes(range(256))).decode(),
        "content_type": "a/b",
    }
    yield Case(name, good(name, message=message), None, (ACCEPTED,))
    name = "hostile customer"
    ids = ["'; DROP TABLE customers; --", "{a,b}", '"', "\\N", "a\\b", "NULL", "مرحبا", "%s"]
    yield Case(
        name, good(name, customers=ids, requester="\\.", campaign_id="\\N"), None, (ACCEPTED,)
    )
    name = "Avro in blocks"
    yield Case(name, _avro_in_blocks(name), None, (ACCEPTED,))
    name = "as large as may be"
    small = good(name, message={"body": "", "content_type": "a/b"})
    room = 890_000
    value = good(name, message={"body": "x" * room, "content_type": "a/b"})
    padding = b" " * (MAX_BYTES - len(small) - room)
    yield Case(name, value + padding, None, (ACCEPTED,))


def _avro_in_blocks(name: str) -> bytes:
    """The customers in two blocks, one of them with its size."""
    whole = good_avro(name, customers=["42", "43"])
    one, two = varint.text("42"), varint.text("43")
    sized = varint.long(-1) + varint.long(len(one)) + one
    return whole.replace(varint.long(2) + one + two, sized + varint.long(1) + two)


def envelopes() -> Iterator[Case]:
    for name, key in {
        "null key": None,
        "empty key": b"",
        "key that differs from the id": b"another",
        "key that is no UTF-8": b"\xff\x00\xfe",
        "huge key": b"k" * 900_000,
    }.items():
        yield Case(name, good(name), None, (ACCEPTED,), key=key)
    for name, at_ms in {
        "timestamp of 1970": 1,
        "timestamp in seconds": DUE_MS // 1_000,
        "timestamp of 9999": 253_402_300_799_999,
        "timestamp beyond all years": 2**62,
    }.items():
        yield Case(name, good(name), None, (ACCEPTED,), timestamp_ms=at_ms)
    trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    odd: dict[str, CopiedHeaders] = {
        "1,000 headers": [(f"h{number}", b"x") for number in range(1_000)],
        "header without name and value": [("", None)],
        "header of 90,000 bytes": [("a", b"x" * 90_000)],
        "header name of 30,000 bytes": [("a" * 30_000, b"x")],
        "header with line ends": [("a\r\nb", b"c\r\nd: e"), ("\x00", b"\x00")],
        "forged verdict": [("saec-reason", b"none"), ("saec-source-offset", b"-1")],
        "forged event": [("ce_id", b"x"), ("ce_type", b"saec.v1.CancelRequested")],
        "content type of bytes": [("content-type", b"\xff\x00")],
        "content type null": [("content-type", None)],
        "content type that says nothing": [("content-type", b"text/plain; charset=utf-16")],
        "content type in capitals": [("Content-Type", b" APPLICATION/JSON ; a=b")],
        "trace that is none": [("traceparent", b"00-zz")],
        "trace null": [("traceparent", None)],
        "trace twice": [("traceparent", trace), ("TraceParent", trace)],
        "trace of 90,000 bytes": [("traceparent", trace + b"0" * 90_000)],
    }
    for name, headers in odd.items():
        yield Case(name, good(name), None, (ACCEPTED,), headers=headers)
    avro_type = [("content-type", b"application/avro")]
    name = "JSON that says it is Avro"
    yield Case(name, good(name), Reason.INVALID_AVRO, headers=avro_type)
    name = "Avro that says it is JSON"
    json_type = [("content-type", b"application/json")]
    yield Case(name, good_avro(name), Reason.NOT_UTF8, headers=json_type)
    forged = [("saec-reason", b"none"), ("saec-detail", b"none"), ("SAEC-Reason", b"kept")]
    yield Case("forged verdict on what is refused", b"{", Reason.INVALID_JSON, headers=forged)


def cancels() -> Iterator[Case]:
    def cancel(name: str, **changes: Any) -> bytes:
        event = {"type": "saec.v1.CancelRequested", "id": str(request_id(name))}
        return text(event | {"requester": "tests"} | changes)

    unknown: Answer = (Status.UNKNOWN_REQUEST, None)
    name = "cancel before create"
    yield Case(name, cancel(name), None, (unknown,))
    yield Case(f"{name} | the create", good(name), None, (ACCEPTED,))
    yield Case(f"{name} | a cancel after it", cancel(name), None, ((Status.CANCELLED, None),))
    name = "cancel by another"
    yield Case(f"{name} | the create", good(name), None, (ACCEPTED,))
    other = (rejected(Reason.OTHER_REQUESTER),)
    yield Case(name, cancel(name, requester="x"), None, other)
    name = "cancel twice"
    yield Case(f"{name} | the create", good(name), None, (ACCEPTED,))
    yield Case(f"{name} | once", cancel(name), None, ((Status.CANCELLED, None),))
    yield Case(name, cancel(name), None, ((Status.ALREADY_CANCELLED, None),))
    yield Case(f"{name} | the same create", good(name), None, ((Status.DUPLICATE, None),))
    changed = good(name, customers=["1"])
    yield Case(f"{name} | another create", changed, None, (rejected(Reason.ID_TAKEN),))
    name = "cancel with more fields"
    value = cancel(name, reason=SECRET)
    yield Case(name, value, Reason.INVALID_EVENT, names_request=True)
    name = "cancel without requester"
    value = cancel(name, requester=None)
    yield Case(name, value, Reason.INVALID_EVENT, names_request=True)
    yield Case("cancel of no id", cancel("x", id="*"), Reason.INVALID_ID)
