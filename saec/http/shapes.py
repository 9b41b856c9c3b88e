"""What goes in and what comes out, as JSON Schema.

Invariant: every bound and every list of values is taken from the code that holds to it, so the
contract cannot say anything else than the endpoint does.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from saec.accounts import PORTUGUESE
from saec.contracts.events import (
    CANONICAL_UUID,
    MAX_ATTRIBUTES,
    MAX_CUSTOMERS,
    AttributeValue,
    Channel,
    ContentType,
    Id,
    Lane,
    Line,
)
from saec.contracts.instants import MAX_MS
from saec.contracts.status import Status
from saec.errors import Reason
from saec.http.problems import Code
from saec.http.questions import SCHEDULE
from saec.store.history import State

Schema = dict[str, Any]

# Not every language knows these names in a pattern.
_CHARACTERS = {
    r"\p{Cc}": r"\u0000-\u001f\u007f-\u009f",
    r"\p{Zl}": r"\u2028",
    r"\p{Zp}": r"\u2029",
    r"\p{Z}": r" \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000",
    # Together: what is not seen. Beyond \uffff the characters themselves, for want of one escape
    # that every language knows.
    r"\p{Cf}\p{DI}\x{2800}": r"\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2"
    r"\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff",
}
_NULL: Schema = {"type": "null"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_TO_SOMEBODY = [channel.value for channel in Channel if channel is not Channel.PUSH]
_OUT_OF_HTTP = frozenset(
    {
        *(Reason.INVALID_AVRO, Reason.UNKNOWN_SCHEMA, Reason.KEY_MISMATCH),
        *(Reason.INVALID_EMAIL, Reason.INVALID_PHONE),
        *(Reason.EXPIRED, Reason.UNKNOWN_CUSTOMER, Reason.NO_ADDRESS, Reason.OPTED_OUT),
        *(Reason.SEVERAL, Reason.REQUESTER_MISMATCH),
    }
)
"""Of own topics, of Avro, of customer records, and of messages that could not go out."""
REASONS = tuple(reason for reason in Reason if reason not in _OUT_OF_HTTP)
"""Why a request or a cancel may be refused."""


def ref(name: str) -> Schema:
    """A schema of `schemas()`, by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def values(of: Iterable[StrEnum]) -> Schema:
    """One of these."""
    return {"type": "string", "enum": [one.value for one in of]}


def text_of(type_: Any) -> Schema:
    """A text with the bounds of a type of saec.contracts.events."""
    schema = TypeAdapter(type_).json_schema()
    for name, characters in _CHARACTERS.items():
        schema["pattern"] = schema["pattern"].replace(name, characters)
    return schema


def moment(description: str) -> Schema:
    """An instant, as it is told."""
    return {"type": "string", "format": "date-time", "description": description}


def instant(description: str = "An instant.") -> Schema:
    """An instant, as it may be given."""
    given = [
        {"type": "string", "format": "date-time"},
        {"type": "integer", "minimum": 0, "maximum": MAX_MS},
    ]
    return {"anyOf": given, "description": description}


def request_id(description: str) -> Schema:
    """A canonical UUID."""
    pattern = f"^{CANONICAL_UUID.pattern}$"
    return {"type": "string", "format": "uuid", "pattern": pattern, "description": description}


def schemas() -> dict[str, Schema]:
    """All that have a name."""
    return {
        "Request": _either("RequestToCustomers", "RequestToEveryone"),
        "RequestToCustomers": _request(
            "By any channels. PUSH among them still goes to everyone, once.",
            {
                "channels": _channels({"contains": {"enum": _TO_SOMEBODY}}),
                "customers": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MAX_CUSTOMERS,
                    "items": text_of(Id),
                    "description": "Ids of the customer registry. Doubles are removed.",
                },
            },
        ),
        "RequestToEveryone": _request(
            "By PUSH alone, which has no customers.",
            {"channels": _channels({"items": {"const": Channel.PUSH.value}})},
            {"customers": _or_null({"type": "array", "maxItems": 0})},
        ),
        "Message": _either("TextMessage", "BytesMessage")
        | {"description": "900,000 bytes in all. SAEC never looks inside."},
        "TextMessage": _message("body", "body_base64", _BODY),
        "BytesMessage": _message("body_base64", "body", _BODY_BASE64),
        "Cancel": _closed({}, {"requester": _or_null(text_of(Id), _OWN_REQUESTER)}),
        "Answer": _told(_ANSWER),
        "Taken": _told(_TAKEN | {"answer": _NULL}) | {"examples": [_TAKEN_EXAMPLE]},
        "Answered": _told(_TAKEN | {"answer": ref("Answer")}),
        "Refusal": _told(_REFUSAL),
        "Tally": _told(_TALLY, _TALLY_OF_ANSWERS),
        "Account": _told(_ACCOUNT),
        "AccountWithCancels": _told(_ACCOUNT | {"cancels": _list(_told(_CANCEL))}),
        "Page": _told({"requests": _list(ref("Account")), "next": _NEXT}),
        "PendingHours": _told({"pending": _list(ref("PendingHour"))}),
        "PendingHour": _told(_HOUR),
        "Health": _told({"status": {"const": "ok"}}),
        "Problem": _told(_PROBLEM, _BESIDE) | {"description": "RFC 9457. Programs go by `code`."},
    }


def _described(schema: Schema, description: str) -> Schema:
    return schema | {"description": description}


def _either(*names: str) -> Schema:
    return {"oneOf": [ref(name) for name in names]}


def _or_null(schema: Schema, description: str = "") -> Schema:
    either: Schema = {"anyOf": [schema, _NULL]}
    return either | {"description": description} if description else either


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _closed(required: Mapping[str, Schema], optional: Mapping[str, Schema]) -> Schema:
    """An object that is sent in: what is not known is refused."""
    return _told(required, optional) | {"additionalProperties": False}


def _told(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """An object that is sent out: later releases may add to it."""
    fields = {**required, **(optional or {})}
    return {"type": "object", "required": list(required), "properties": fields}


def _channels(more: Schema) -> Schema:
    known = {"type": "array", "minItems": 1, "items": values(Channel)}
    return known | more


def _request(
    description: str, required: dict[str, Schema], optional: dict[str, Schema] | None = None
) -> Schema:
    always = {
        "due_at": instant(
            "When. ISO 8601 with a zone, or epoch milliseconds; from 60 s ago, so that now works, "
            "to 730 days ahead, if the settings are the defaults."
        ),
        "message": ref("Message"),
    }
    maybe = {
        "type": _or_null({"const": SCHEDULE}),
        "id": _or_null(
            request_id(
                "Choose one, and send again with the same when in doubt. Left out, one is made for "
                "you."
            )
        ),
        "requester": _or_null(text_of(Id), _OWN_REQUESTER),
        "campaign_id": _or_null(text_of(Id), "Passed on."),
        "expires_at": _or_null(instant("From then on nothing goes out."), "Later than `due_at`."),
        "lane": _or_null(
            values(Lane), "What goes first. Left out: TRANSACTIONAL for at most one customer."
        ),
    }
    return _closed(required | always, maybe | (optional or {})) | {"description": description}


def _message(body: str, other: str, schema: Schema) -> Schema:
    return _closed(
        {body: schema, "content_type": _described(text_of(ContentType), "For the sender.")},
        {
            other: _NULL,
            "subject": _or_null(text_of(Line), "One line."),
            "attributes": _or_null(_ATTRIBUTES, "For the sender."),
        },
    )


_ATTRIBUTES: Schema = {
    "type": "object",
    "maxProperties": MAX_ATTRIBUTES,
    "propertyNames": text_of(Id),
    "additionalProperties": text_of(AttributeValue),
}
_OWN_REQUESTER = "Left out: the one of the API key. Another one is refused."
_BODY: Schema = {
    "type": "string",
    "pattern": r"^[^\x00]*$",
    "description": "Text. Delivered byte for byte, as UTF-8.",
}
_BODY_BASE64: Schema = {
    "type": "string",
    "contentEncoding": "base64",
    "pattern": _BASE64,
    "description": "Any bytes.",
}
_ANSWER: dict[str, Schema] = {
    "status": values(Status),
    "reason": _or_null(values(Reason), "Why not."),
    "detail": _or_null({"type": "string"}, "For people: which field, and what is wrong."),
    "counts": {"type": "object", "additionalProperties": _COUNT},
    "at": moment("When Kafka had the record that is answered."),
}
_TAKEN: dict[str, Schema] = {
    "request_id": request_id("The one that was sent, or that was made."),
    "record": {"type": "string", "description": "topic/partition/offset of the record in Kafka."},
}
_TAKEN_EXAMPLE = {
    "request_id": "6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10",
    "record": "saec.requests/3/1042",
    "answer": None,
}
_REFUSAL: dict[str, Schema] = {
    "line": {"type": "integer", "minimum": 1, "description": "In the body, empty ones counted."},
    "request_id": _or_null({"type": "string"}, "If it could be read."),
    "code": {"type": "string", "description": "As in a problem."},
    "detail": {"type": "string"},
}
_TALLY: dict[str, Schema] = {
    "lines": _described(_COUNT, "How many were read. Empty lines do not count."),
    "published": _described(_COUNT, "How many of them Kafka has."),
    "refused": _described(_COUNT, "How many of them are no valid request, or were answered no."),
    "refusals": _list(ref("Refusal")) | {"description": "The first 1,000 of them."},
}
_TALLY_OF_ANSWERS: dict[str, Schema] = {
    "answers": {
        "type": "object",
        "propertyNames": values(Status),
        "additionalProperties": _COUNT,
        "description": "With `Prefer: wait`: how many had which answer.",
    },
    "answered": _list(
        _told({"line": _REFUSAL["line"], "request_id": request_id("The line's."), **_ANSWER})
    )
    | {"description": "With `Prefer: wait`: the answer to each line, the first 1,000 to come."},
    "unanswered": _described(_COUNT, "With `Prefer: wait`: how many had none in time."),
}
_ACCOUNT: dict[str, Schema] = {
    "request_id": request_id("The one it was asked with."),
    "state": values(State),
    "state_pt": {"type": "string", "enum": list(PORTUGUESE.values())},
    "requester": {"type": "string"},
    "campaign_id": _or_null({"type": "string"}),
    "channels": _list(values(Channel)),
    "lane": values(Lane),
    "due_at": moment("When it is due."),
    "expires_at": _or_null(moment("From then on nothing goes out.")),
    "accepted_at": moment("When Kafka had its record."),
    "recipients": _described(_COUNT, "Customers, and one more for PUSH."),
    "counts": _told(dict.fromkeys(("total", "pending", "skipped", "cancelled", "sent"), _COUNT))
    | {"description": "Messages: total = pending + skipped + cancelled + sent."},
    "skips": _list(
        _told({"channel": values(Channel), "reason": values(Reason), "messages": _COUNT})
    )
    | {"description": "What could not go out, and why."},
}
_CANCEL: dict[str, Schema] = {
    "status": values(Status),
    "recipients_stopped": _COUNT,
    "messages_stopped": _COUNT,
}
_NEXT = _or_null({"type": "string"}, "The `cursor` of the next page; null: there is none.")
_HOUR: dict[str, Schema] = {
    "hour": moment("The hour's beginning, in UTC."),
    "lane": values(Lane),
    "channel": values(Channel),
    "requests": _COUNT,
    "messages": _COUNT,
}
_PROBLEM: dict[str, Schema] = {
    "type": {"type": "string", "format": "uri", "description": "`urn:saec:problem:` and the code."},
    "title": {"type": "string"},
    "status": {"type": "integer", "description": "The HTTP status again."},
    "detail": {"type": "string", "description": "For people. Never quotes what was sent."},
    "code": {"type": "string", "enum": [code.value for code in (*Code, *REASONS)]},
}
_BESIDE: dict[str, Schema] = {
    "request_id": {"type": "string", "description": "If it could be read."},
    "record": _described(_TAKEN["record"], "If it was published, and SAEC's answer is the no."),
    "answer": ref("Answer"),
    **_TALLY,
    "resend_from_line": {
        "type": "integer",
        "minimum": 1,
        "description": "Of JSON lines: Kafka has every valid line before this one.",
    },
}
