"""What goes wrong, as RFC 9457 wants it told.

Owns the codes that only HTTP knows, and which status each reason has. Invariant: a problem names
fields and positions, never a value that a stranger wrote.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from saec.contracts.rejected import RejectedError
from saec.errors import Reason, SaecError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
_TYPE = "urn:saec:problem:"


class Code(StrEnum):
    """What only HTTP can be answered, beside `Reason`. Stable: codes are added, never changed."""

    INVALID_HTTP = "invalid_http"
    INVALID_PARAMETER = "invalid_parameter"
    UNAUTHENTICATED = "unauthenticated"
    SCOPE_MISSING = "scope_missing"
    UNKNOWN_PATH = "unknown_path"
    UNKNOWN_REQUEST = "unknown_request"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    TOO_SLOW = "too_slow"
    TOO_LATE = "too_late"
    TOO_MANY_LINES = "too_many_lines"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    TOO_MANY_REQUESTS = "too_many_requests"
    HEAD_TOO_LARGE = "head_too_large"
    INTERNAL_ERROR = "internal_error"
    KAFKA_UNAVAILABLE = "kafka_unavailable"
    POSTGRESQL_UNAVAILABLE = "postgresql_unavailable"
    TOO_BUSY = "too_busy"


TITLES = {
    Code.INVALID_HTTP: "Not HTTP as it is expected",
    Code.INVALID_PARAMETER: "A parameter is not valid",
    Code.UNAUTHENTICATED: "No valid API key",
    Code.SCOPE_MISSING: "The API key may not do this",
    Code.UNKNOWN_PATH: "There is nothing here",
    Code.UNKNOWN_REQUEST: "There is no such request",
    Code.METHOD_NOT_ALLOWED: "Not by this method",
    Code.TOO_SLOW: "The body came too slowly",
    Code.TOO_LATE: "Everything had left",
    Code.TOO_MANY_LINES: "More lines than one call takes",
    Code.UNSUPPORTED_MEDIA_TYPE: "Not a media type that is read here",
    Code.TOO_MANY_REQUESTS: "More than the API key may ask",
    Code.HEAD_TOO_LARGE: "The headers are too large",
    Code.INTERNAL_ERROR: "An error that SAEC did not expect",
    Code.KAFKA_UNAVAILABLE: "Kafka does not answer",
    Code.POSTGRESQL_UNAVAILABLE: "PostgreSQL does not answer",
    Code.TOO_BUSY: "More than is taken at a time",
}
REFUSED = "The request was refused"
_UNREADABLE = frozenset(
    {
        Reason.EMPTY_VALUE,
        Reason.NOT_UTF8,
        Reason.INVALID_JSON,
    }
)
_STATUSES = {
    Reason.VALUE_TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Reason.OTHER_REQUESTER: HTTPStatus.FORBIDDEN,
    Reason.ID_TAKEN: HTTPStatus.CONFLICT,
    **dict.fromkeys(_UNREADABLE, HTTPStatus.BAD_REQUEST),
}


class Problem(SaecError):  # noqa: N818 - the RFC's word
    """A request that is not answered with what it asked for."""

    def __init__(
        self,
        status: int,
        code: Code | Reason,
        detail: str,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        """`members` stand beside the standard ones; those that are None are left out."""
        super().__init__(f"{code}: {detail}")
        self.status = int(status)
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = {name: value for name, value in members.items() if value is not None}

    @property
    def body(self) -> bytes:
        """As JSON."""
        title = TITLES[self.code] if isinstance(self.code, Code) else REFUSED
        told = {
            "type": f"{_TYPE}{self.code}",
            "title": title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code.value,
            **self.members,
        }
        return (json.dumps(told, ensure_ascii=False) + "\n").encode()

    @property
    def response(self) -> Response:
        """What to send."""
        return Response(self.body, self.status, self.headers, MEDIA_TYPE)


def status_of(reason: Reason) -> HTTPStatus:
    """The HTTP status that a reason has."""
    return _STATUSES.get(reason, HTTPStatus.UNPROCESSABLE_ENTITY)


def of_rejected(error: RejectedError, request_id: str | None = None) -> Problem:
    """The refusal of what is no valid event."""
    read = None if error.request_id is None else str(error.request_id)
    return Problem(
        status_of(error.reason), error.reason, error.detail, request_id=request_id or read
    )


def unauthenticated(detail: str) -> Problem:
    """No key, or none that is valid."""
    headers = {"WWW-Authenticate": 'Bearer realm="saec"'}
    return Problem(HTTPStatus.UNAUTHORIZED, Code.UNAUTHENTICATED, detail, headers)


def unavailable(code: Code, detail: str, **members: Any) -> Problem:
    """A part does not answer: to be tried again."""
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, code, detail, headers, **members)


def kafka_unavailable(request_id: str | None = None, **members: Any) -> Problem:
    """Not known whether it was published."""
    return unavailable(
        Code.KAFKA_UNAVAILABLE,
        "not acknowledged by Kafka: send it again with the same id; what did arrive is answered "
        "DUPLICATE, nothing is sent twice",
        request_id=request_id,
        **members,
    )


def unknown_request(**members: Any) -> Problem:
    """Nothing is stored under this id that the key may see."""
    return Problem(
        HTTPStatus.NOT_FOUND,
        Code.UNKNOWN_REQUEST,
        "no request of this requester is stored under this id: it was refused, or was not read "
        "yet; send it again with the same id and `Prefer: wait=10` to have the answer",
        **members,
    )


def too_many_lines(most: int) -> Problem:
    """More than one call takes."""
    detail = f"more than {most:,} lines: send the others in another call"
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, Code.TOO_MANY_LINES, detail)


def too_busy(detail: str) -> Problem:
    """As much is under way as may be: to be tried again."""
    return unavailable(Code.TOO_BUSY, detail)


def too_many_requests(detail: str) -> Problem:
    """More than one key may."""
    headers = {"Retry-After": "1"}
    return Problem(HTTPStatus.TOO_MANY_REQUESTS, Code.TOO_MANY_REQUESTS, detail, headers)


def invalid_parameter(detail: str) -> Problem:
    """A path or a query that cannot be read."""
    return Problem(HTTPStatus.BAD_REQUEST, Code.INVALID_PARAMETER, detail)
