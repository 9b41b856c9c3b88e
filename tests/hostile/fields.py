"""Events of which a field is not right."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

from saec.errors import Reason
from tests.hostile.case import (
    ACCEPTED,
    DUE_MS,
    NEXT_YEAR,
    SECRET,
    Case,
    customer,
    good,
    rejected,
    request_id,
)

# Zero width, bidi, soft hyphen, byte order mark, filler, variation selector, tag, blank of Braille.
UNSEEN = "\u200b\u202e\u2066\u00ad\ufeff\u3164\ufe0f\U000e0041\u2800"


def fields() -> Iterator[Case]:
    for reason, changes in (
        (Reason.INVALID_EVENT, {"requester": True}),
        (Reason.INVALID_EVENT, {"requester": 42}),
        (Reason.INVALID_EVENT, {"requester": ...}),
        *((Reason.INVALID_EVENT, {"requester": f"{unseen}billing"}) for unseen in UNSEEN),
        (Reason.INVALID_EVENT, {"campaign_id": False}),
        (Reason.INVALID_EVENT, {"campaign_id": "a\u202eb"}),
        (Reason.INVALID_EVENT, {"lane": 1}),
        (Reason.INVALID_EVENT, {"lane": SECRET}),
        (Reason.INVALID_EVENT, {SECRET: 1}),
        (Reason.INVALID_EVENT, {"channels": []}),
        (Reason.UNKNOWN_CHANNEL, {"channels": ["FAX"]}),
        (Reason.UNKNOWN_CHANNEL, {"channels": ["email"]}),
        (Reason.UNKNOWN_CHANNEL, {"channels": ["EMAIL", SECRET]}),
        (Reason.UNKNOWN_CHANNEL, {"channels": ["UNKNOWN"]}),
        (Reason.UNKNOWN_CHANNEL, {"channels": [True]}),
        (Reason.UNKNOWN_CHANNEL, {"channels": ...}),
        (Reason.INVALID_CUSTOMERS, {"customers": []}),
        (Reason.INVALID_CUSTOMERS, {"customers": ...}),
        (Reason.INVALID_CUSTOMERS, {"customers": [42]}),
        (Reason.INVALID_CUSTOMERS, {"customers": [True]}),
        (Reason.INVALID_CUSTOMERS, {"customers": "42"}),
        (Reason.INVALID_CUSTOMERS, {"customers": [f"{SECRET}\r\n"]}),
        (Reason.INVALID_CUSTOMERS, {"customers": ["4\u200b2"]}),
        (Reason.INVALID_CUSTOMERS, {"channels": ["PUSH"]}),
        (Reason.INVALID_MESSAGE, {"message": ...}),
        (Reason.INVALID_MESSAGE, {"message": SECRET}),
        (Reason.INVALID_MESSAGE, {"message": {"body": 42, "content_type": "a/b"}}),
        (Reason.INVALID_MESSAGE, {"message": {"body": True, "content_type": "a/b"}}),
        (Reason.INVALID_MESSAGE, {"message": {"body": "x", "content_type": "a\r\nb: c"}}),
        (Reason.EXPIRES_BEFORE_DUE, {"expires_at": DUE_MS}),
    ):
        ((field, content),) = changes.items()
        name = f"{field} {'missing' if content is ... else json.dumps(content)}"
        yield Case(name, good(name, **changes), reason, names_request=True)
    name = "10,001 customers"
    many = [str(number) for number in range(10_001)]
    yield Case(name, good(name, customers=many), Reason.INVALID_CUSTOMERS, names_request=True)
    for type_ in (..., None, 1, "ScheduleRequested", "saec.v2.ScheduleRequested", SECRET):
        name = f"type {type_!r}"
        yield Case(name, good(name, type=type_), Reason.UNKNOWN_EVENT_TYPE, names_request=True)
    value = customer("42")
    yield Case("event of another topic", value, Reason.UNKNOWN_EVENT_TYPE)


def ids() -> Iterator[Case]:
    canonical = str(request_id("id"))
    for name, id_ in {
        "missing": ...,
        "null": None,
        "a number": 42,
        "a list": [canonical],
        "empty": "",
        "in braces": f"{{{canonical}}}",
        "a urn": f"urn:uuid:{canonical}",
        "in capitals": canonical.upper(),
        "without hyphens": canonical.replace("-", ""),
        "with a space": f" {canonical}",
        "with a line end": f"{canonical}\n",
        "of other digits": "٦" * 8 + canonical[8:],
        "very long": "a" * 900_000,
        "hostile": f"'; DROP TABLE requests; --{SECRET}",
        "a path": "../../../etc/passwd",
        "control characters": "\x1b[2J\r\n" * 6,
    }.items():
        yield Case(f"id {name}", good("id", id=id_), Reason.INVALID_ID)


def instants() -> Iterator[Case]:
    year = NEXT_YEAR
    for name, due, hint in (
        ("no zone", f"{year}-06-01T09:00:00", "no zone"),
        ("unknown zone", f"{year}-06-01T09:00:00 XST", "a blank between"),
        ("zone by name", f"{year}-06-01T09:00:00[America/Sao_Paulo]", "a zone's name is not read"),
        ("both", f"{year}-06-01T09:00:00-03:00[America/Sao_Paulo]", "a zone's name is not read"),
        ("impossible offset", f"{year}-06-01T09:00:00+24:00", "no such offset"),
        ("offset of three digits", f"{year}-06-01T09:00:00+024", "neither like -03:00"),
        ("a typeset minus", f"{year}-06-01T09:00:00\N{MINUS SIGN}03:00", "the ASCII one"),
        ("a line end", f"{year}-06-01T09:00:00Z\n", "whitespace"),
        ("too fine", f"{year}-06-01T09:00:00.{'9' * 19}Z", "more than 18 digits"),
        ("leap second", f"{year}-06-30T23:59:60Z", "leap second"),
        ("no such day", f"{year}-02-30T09:00:00Z", "no such day"),
        ("hour 24", f"{year}-06-01T24:00:00Z", "no such day or time"),
        ("day alone", f"{year}-06-01", "not ISO 8601"),
        ("another order", "06/01/2030 09:00 Z", "not ISO 8601"),
        ("digits as a text", str(DUE_MS), "in quotation marks"),
        ("words", SECRET, "not ISO 8601"),
        ("Arabic digits", "٢٠٣٠-06-01T09:00:00Z", "not ISO 8601"),
        ("very long", f"{year}-06-01T09:00:00." + "9" * 100_000, ""),
        ("far past", "0001-01-01T00:00:00Z", "not between 1970 and 9999"),
        ("before 1970", -1, "not between 1970 and 9999"),
        ("year 0", "0000-01-01T00:00:00Z", "no such day"),
        ("year 9999 in a western zone", "9999-12-31T23:59:59-03:00", "not between 1970 and 9999"),
        ("year 10000", "10000-01-01T00:00:00Z", "not ISO 8601"),
        ("year +10000", "+10000-01-01T00:00:00Z", "not ISO 8601"),
        ("microseconds", DUE_MS * 1_000, "a number counts milliseconds"),
        ("a fraction", DUE_MS + 0.5, "milliseconds are whole"),
        ("true", True, "neither ISO 8601"),
        ("null", None, "missing"),
        ("missing", ..., "missing"),
    ):
        full = f"due_at {name}"
        value = good(full, due_at=due)
        yield Case(full, value, Reason.INVALID_INSTANT, names_request=True, hint=hint)
    past, far = Reason.DUE_IN_THE_PAST, Reason.DUE_BEYOND_HORIZON
    for name, due, reason, hint in (
        ("seconds", DUE_MS // 1_000, past, "milliseconds, not seconds"),
        ("zero", 0, past, "milliseconds, not seconds"),
        ("of 1970", "1970-01-01T00:00:00Z", past, ""),
        ("of 2001", "2001-01-01T00:00:00Z", past, "grace period"),
        ("of 9999", "9999-12-31T23:59:59.999Z", far, "horizon"),
    ):
        full = f"due_at {name}"
        yield Case(full, good(full, due_at=due), None, (rejected(reason),), hint=hint)
    # An offset is required, so no local time is ever missing or double.
    march = min(day for day in range(8, 15) if datetime(year, 3, day, tzinfo=UTC).weekday() == 6)
    for name, due in (
        ("in a DST gap", f"{year}-03-{march:02}T02:30:00-05:00"),
        ("with hours alone", f"{year}-06-01 09:00:00-03"),
        ("finer than a millisecond", f"{year}-06-01T09:00:00.000000001Z"),
        ("in lower case", f"{year}-06-01t09:00:00z"),
    ):
        full = f"due_at {name}"
        yield Case(full, good(full, due_at=due), None, (ACCEPTED,))
