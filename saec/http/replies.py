"""The answers that an operation can have, good and bad, as the contract tells them.

Invariant: each refusal stands under the status that it is sent with, by its code.
"""

from collections.abc import Iterable, Mapping
from http import HTTPStatus

from saec.contracts.status import Status
from saec.errors import Reason
from saec.http.asking import YES
from saec.http.bodies import JSON
from saec.http.problems import MEDIA_TYPE, REFUSED, TITLES, Code, status_of
from saec.http.shapes import Schema, ref, values

STATUSES = {
    Code.INVALID_HTTP: HTTPStatus.BAD_REQUEST,
    Code.INVALID_PARAMETER: HTTPStatus.BAD_REQUEST,
    Code.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Code.SCOPE_MISSING: HTTPStatus.FORBIDDEN,
    Code.UNKNOWN_PATH: HTTPStatus.NOT_FOUND,
    Code.UNKNOWN_REQUEST: HTTPStatus.NOT_FOUND,
    Code.METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    Code.TOO_SLOW: HTTPStatus.REQUEST_TIMEOUT,
    Code.TOO_LATE: HTTPStatus.CONFLICT,
    Code.TOO_MANY_LINES: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Code.UNSUPPORTED_MEDIA_TYPE: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Code.TOO_MANY_REQUESTS: HTTPStatus.TOO_MANY_REQUESTS,
    Code.HEAD_TOO_LARGE: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    Code.INTERNAL_ERROR: HTTPStatus.INTERNAL_SERVER_ERROR,
    Code.KAFKA_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.POSTGRESQL_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.TOO_BUSY: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The status that each code has."""
_HEADERS: Mapping[HTTPStatus, tuple[str, Schema, str]] = {
    HTTPStatus.UNAUTHORIZED: ("WWW-Authenticate", {"type": "string"}, "How to show a key."),
    HTTPStatus.TOO_MANY_REQUESTS: ("Retry-After", {"type": "integer"}, "In so many seconds."),
    HTTPStatus.SERVICE_UNAVAILABLE: ("Retry-After", {"type": "integer"}, "In so many seconds."),
}
_TAKEN = "Kafka has it; there is no answer yet."
_OR_A_TALLY = "Of JSON lines: what became of them."
_LINKS = {
    operation: {
        "operationId": operation,
        "parameters": {"request_id": "$response.body#/request_id"},
    }
    for operation in ("read", "cancel")
}


def found(description: str, name: str) -> Schema:
    """What was read, as the schema of this name."""
    return {"200": {"description": description, "content": {JSON: {"schema": ref(name)}}}}


def answered(answers: Iterable[Status], *, or_a_tally: bool = False) -> Schema:
    """What follows when Kafka has it: SAEC's answer, if it was waited for."""
    told = {HTTPStatus.ACCEPTED: _taken("Taken", _TAKEN, or_a_tally=or_a_tally)}
    for status in {YES[answer] for answer in answers}:
        said = ", ".join(answer for answer in answers if YES[answer] is status)
        tally = or_a_tally and status is HTTPStatus.OK
        told[status] = _taken("Answered", f"SAEC's answer is {said}.", or_a_tally=tally)
    return {str(int(status)): told[status] for status in sorted(told)}


def _taken(name: str, description: str, *, or_a_tally: bool) -> Schema:
    either = [ref(name), ref("Tally")]
    return {
        "description": f"{description} {_OR_A_TALLY}" if or_a_tally else description,
        "headers": {
            "Location": _header({"type": "string"}, "Where to read what became of it."),
            "Preference-Applied": _header({"type": "string"}, "`wait=N`, if it was waited."),
        },
        "content": {JSON: {"schema": {"oneOf": either} if or_a_tally else ref(name)}},
        "links": _LINKS,
    }


def _header(schema: Schema, description: str, *, required: bool = False) -> Schema:
    return {"schema": schema, "description": description, "required": required}


def problems(codes: Iterable[Code | Reason]) -> Schema:
    """What these refusals look like, by their status."""
    by_status: dict[HTTPStatus, list[Code | Reason]] = {}
    for code in codes:
        by_status.setdefault(_status(code), []).append(code)
    return {str(int(status)): _problem(status, by_status[status]) for status in sorted(by_status)}


def _status(code: Code | Reason) -> HTTPStatus:
    return STATUSES[code] if isinstance(code, Code) else status_of(code)


def _problem(status: HTTPStatus, codes: list[Code | Reason]) -> Schema:
    lines = [f"- `{code}`: {TITLES[code] if isinstance(code, Code) else REFUSED}" for code in codes]
    told = {"properties": {"status": {"const": int(status)}, "code": values(codes)}}
    problem: Schema = {
        "description": "\n".join(lines),
        "content": {MEDIA_TYPE: {"schema": {"allOf": [ref("Problem"), told]}}},
    }
    if status in _HEADERS:
        name, schema, description = _HEADERS[status]
        problem["headers"] = {name: _header(schema, description, required=True)}
    return problem
