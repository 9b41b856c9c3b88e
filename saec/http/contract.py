"""The contract of the endpoint, as OpenAPI: what /openapi.json serves, and /docs shows.

Invariant: every operation, and every answer that it can have, stands here; nothing else does.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any

from saec.contracts.events import Channel, Id, Lane
from saec.contracts.status import Status
from saec.errors import Reason
from saec.http import replies
from saec.http.bodies import JSON, JSON_LINES
from saec.http.bulk import MOST_LINES
from saec.http.preferences import LONGEST_WAIT_S
from saec.http.problems import MEDIA_TYPE, Code
from saec.http.questions import CANCEL
from saec.http.reading import Wanted
from saec.http.shapes import REASONS, Schema, instant, ref, request_id, schemas, text_of, values
from saec.keys import Scope
from saec.store.history import State

_KEY = "key"
_REQUESTS = "/v1/requests"
_ONE = f"{_REQUESTS}/{{request_id}}"

_EVERYWHERE = (Code.INVALID_HTTP, Code.HEAD_TOO_LARGE, Code.INTERNAL_ERROR, Code.TOO_BUSY)
_WITH_A_KEY = (
    *(*_EVERYWHERE, Code.UNAUTHENTICATED, Code.SCOPE_MISSING),
    *(Code.TOO_MANY_REQUESTS, Code.POSTGRESQL_UNAVAILABLE),
)
_TO_KAFKA = (*_WITH_A_KEY, Code.TOO_SLOW, Code.KAFKA_UNAVAILABLE)
_OF_CANCELS = (
    *(Reason.NOT_UTF8, Reason.INVALID_JSON, Reason.VALUE_TOO_LARGE),
    *(Reason.INVALID_EVENT, Reason.INVALID_ID, Reason.OTHER_REQUESTER),
)


@cache
def document() -> dict[str, Any]:
    """The contract. Not to be changed."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "SAEC",
            "version": version("saec"),
            "summary": "Schedules messages, and tells what became of them.",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            _REQUESTS: {"post": _schedule(), "get": _many()},
            _ONE: {"get": _one()},
            f"{_ONE}/cancel": {"post": _cancel()},
            "/v1/pending": {"get": _pending()},
            "/v1/health": {"get": _health()},
        },
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                _KEY: {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "saec_<12 hexadecimal digits>_<64 hexadecimal digits>",
                    "description": "An API key, as `saec keys add` prints it.",
                }
            },
        },
    }


def _schedule() -> Schema:
    lines = {"schema": {"type": "string", "pattern": "[!-~]"}, "example": _LINES}
    one = {"schema": ref("Request"), "examples": _EXAMPLES}
    codes = [*_TO_KAFKA, Code.UNSUPPORTED_MEDIA_TYPE, Code.TOO_MANY_LINES]
    return {
        "operationId": "schedule",
        "summary": "Schedule a request, or many",
        "description": _SCHEDULE,
        "security": _needs(Scope.SCHEDULE),
        "parameters": [_PREFER, _TRACEPARENT],
        "requestBody": {
            "required": True,
            "content": {JSON: one, **dict.fromkeys(JSON_LINES, lines)},
        },
        "responses": replies.answered((Status.ACCEPTED, Status.DUPLICATE), or_a_tally=True)
        | replies.problems([*codes, *REASONS]),
    }


def _cancel() -> Schema:
    codes = (*_TO_KAFKA, Code.UNKNOWN_PATH, Code.UNKNOWN_REQUEST, Code.TOO_LATE, *_OF_CANCELS)
    return {
        "operationId": "cancel",
        "summary": "Stop what has not left yet",
        "description": _CANCEL,
        "security": _needs(Scope.SCHEDULE),
        "parameters": [_ID, _PREFER, _TRACEPARENT],
        "requestBody": {"content": {JSON: {"schema": ref("Cancel"), "example": {}}}},
        "responses": replies.answered((Status.CANCELLED, Status.ALREADY_CANCELLED))
        | replies.problems(codes),
    }


def _one() -> Schema:
    codes = (*_WITH_A_KEY, Code.INVALID_PARAMETER, Code.UNKNOWN_PATH, Code.UNKNOWN_REQUEST)
    return {
        "operationId": "read",
        "summary": "Where a request stands",
        "description": _READ,
        "security": _needs(Scope.READ, Scope.OPERATE),
        "parameters": [_ID],
        "responses": replies.found("The request, and the cancels of it.", "AccountWithCancels")
        | replies.problems(codes),
    }


def _many() -> Schema:
    return {
        "operationId": "list",
        "summary": "Requests, newest first",
        "description": _LIST,
        "security": _needs(Scope.READ, Scope.OPERATE),
        "parameters": [_query(name) for name in Wanted.model_fields],
        "responses": replies.found("A page of them.", "Page")
        | replies.problems((*_WITH_A_KEY, Code.INVALID_PARAMETER)),
    }


def _pending() -> Schema:
    return {
        "operationId": "pending",
        "summary": "What is still to leave, by hour, lane and channel",
        "description": "Of the key's requester; with the scope `operate`, of everybody. Up to 5 s "
        "old.",
        "security": _needs(Scope.READ, Scope.OPERATE),
        "responses": replies.found("By hour.", "PendingHours") | replies.problems(_WITH_A_KEY),
    }


def _health() -> Schema:
    return {
        "operationId": "health",
        "summary": "Whether this process serves",
        "description": "For load balancers. Says nothing of Kafka and PostgreSQL. Needs no key.",
        "security": [],
        "responses": replies.found("It does.", "Health") | replies.problems(_EVERYWHERE),
    }


def _needs(*scopes: Scope) -> list[Schema]:
    """A key with one of these."""
    return [{_KEY: [scope.value]} for scope in scopes]


def _query(name: str) -> Schema:
    schema, description = _QUERY[name]
    return {"name": name, "in": "query", "schema": schema, "description": description}


_ABOUT = f"""
You ask for messages to leave at an instant; SAEC sees to it that each leaves once. Choose
**Authorize** and paste an API key to try it from this page.

- **2xx to a POST means that Kafka has it.** Whether SAEC accepts it is said by its answer: wait for
  it with `Prefer: wait=10`, or read `{_ONE}` a moment later.
- **When in doubt, send it again with the same `id`**: after a lost connection, a 5xx, no answer in
  time. What had arrived is answered DUPLICATE, and nothing leaves twice.
- **What goes wrong is `{MEDIA_TYPE}`** (RFC 9457). Programs go by its `code`. A path that is not
  here is 404 `{Code.UNKNOWN_PATH}`, another method 405 `{Code.METHOD_NOT_ALLOWED}`.
- A key acts for one requester, and does what its scopes say: `{Scope.SCHEDULE}`, `{Scope.READ}`,
  `{Scope.OPERATE}`.
""".strip()
_SCHEDULE = f"""
**One request** is a JSON object (`{JSON}`). Without `Prefer: wait` it is answered 202 as soon as
Kafka has it, after it was checked as far as can be without what is stored. With `Prefer: wait=N`
SAEC's answer is waited for: 201 accepted, 200 a repetition that changes nothing, 4xx a no; 202 if
there was none within N seconds, and then nothing is decided yet.

**Many requests and cancels** are JSON lines (`{JSON_LINES[0]}` or `{JSON_LINES[1]}`), up to
{MOST_LINES:,} a call, each an object with an `id`; a cancel also with
`"type": "{CANCEL}"`. Each line stands for itself: what is refused is told by its
number, and the others are taken. With `Prefer: wait=N` the answers are counted.
""".strip()
_CANCEL = """
The body may be empty or blank. 200: it stopped something, now or before, and `counts` says how
much. 409 `too_late`: everything had left or was on its way. Without `Prefer: wait` 202: Kafka has
it, and it will be answered. The first answer is final, and a cancel may be sent again.
""".strip()
_READ = """
A request that was refused is not stored, and one that was sent just now may not be stored yet:
both are 404. So is another requester's, unless the key has the scope `operate`.
""".strip()
_LIST = """
A page may be short, or even empty, and yet have a `next`, since a page looks at 1,000 requests at
most. Go on with `cursor` until `next` is null. A parameter that is not known, or is given twice, is
refused.
""".strip()
_PREFER = {
    "name": "Prefer",
    "in": "header",
    "description": f"`wait=N`: wait up to N seconds for SAEC's answer, {LONGEST_WAIT_S} at most "
    "(RFC 7240). What is not understood is passed over.",
    "schema": {"type": "string"},
    "example": "wait=10",
}
_TRACEPARENT = {
    "name": "traceparent",
    "in": "header",
    "description": "W3C trace context. Carried to the messages, if it is valid.",
    "schema": {"type": "string"},
    "example": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
_ID = {
    "name": "request_id",
    "in": "path",
    "required": True,
    "schema": request_id("The `id` of the request."),
}
_QUERY: Mapping[str, tuple[Schema, str]] = {
    "requester": (
        text_of(Id),
        "Whose. Left out: those of the key's requester. Others' need the scope `operate`.",
    ),
    "state": (values(State), "Those that stand so."),
    "channel": (values(Channel), "Those by this channel, among others."),
    "lane": (values(Lane), "Those of this lane."),
    "campaign_id": (text_of(Id), "Those of this campaign."),
    "due_from": (instant(), "Due at this instant or later."),
    "due_to": (instant(), "Due before this instant."),
    "limit": (Wanted.model_json_schema()["properties"]["limit"], "How many at most."),
    "cursor": ({"type": "string"}, "The `next` of the page before."),
}
_EXAMPLES = {
    "to customers": {
        "value": {
            "id": "6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10",
            "channels": ["EMAIL", "SMS"],
            "customers": ["42"],
            "due_at": "2026-12-01T09:00:00-03:00",
            "message": {
                "subject": "Fatura",
                "body": "Olá! Sua fatura vence amanhã.",
                "content_type": "text/plain; charset=utf-8",
            },
        }
    },
    "to everyone": {
        "value": {
            "id": "f3d3e4a8-5d36-4a9b-8a51-6f0f1a0b7c11",
            "channels": ["PUSH"],
            "due_at": "2026-12-01T12:00:00Z",
            "message": {"body": "Chegou a promoção.", "content_type": "text/plain; charset=utf-8"},
        }
    },
}
_LINES = "".join(
    json.dumps(line, ensure_ascii=False) + "\n"
    for line in (
        *(example["value"] for example in _EXAMPLES.values()),
        {"type": CANCEL, "id": "6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10"},
    )
)
