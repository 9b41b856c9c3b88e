"""Scheduling and cancelling, one at a time: the handlers.

Invariant: 2xx means that Kafka has the record on all replicas in sync, and each ends with a line in
the audit trail.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from saec.contracts.instants import iso
from saec.contracts.status import RequestStatus, Status
from saec.errors import Reason
from saec.http import questions
from saec.http.bodies import read_whole
from saec.http.endpoint import Endpoint
from saec.http.preferences import applied, wait_s
from saec.http.problems import Code, Problem, status_of, unknown_request
from saec.http.questions import Question
from saec.http.trail import Change, Trail
from saec.kafka.async_producer import Appended
from saec.keys import Scope

_CANCEL_BYTES = 4_096
YES: Mapping[Status, HTTPStatus] = {
    Status.ACCEPTED: HTTPStatus.CREATED,
    Status.DUPLICATE: HTTPStatus.OK,
    Status.CANCELLED: HTTPStatus.OK,
    Status.ALREADY_CANCELLED: HTTPStatus.OK,
}


async def schedule(endpoint: Endpoint, request: Request) -> Response:
    """POST /v1/requests: one request, a JSON object."""
    async with endpoint.keyring.admitted(request, Scope.SCHEDULE) as holder:
        trail = Trail.of(holder, request)
        with trail.change("schedule") as change:
            most_bytes = endpoint.settings.max_request_bytes
            body = await read_whole(request, most_bytes)
            question = await endpoint.validated(
                holder, questions.of_request, body, holder.requester, most_bytes
            )
            return await _put(endpoint, request, trail, change, question)


async def cancel(endpoint: Endpoint, request: Request, request_id: str) -> Response:
    """POST /v1/requests/{id}/cancel."""
    async with endpoint.keyring.admitted(request, Scope.SCHEDULE) as holder:
        trail = Trail.of(holder, request)
        with trail.change("cancel") as change:
            body = await read_whole(request, _CANCEL_BYTES)
            question = questions.of_cancel(body, request_id, holder.requester)
            return await _put(endpoint, request, trail, change, question)


async def _put(
    endpoint: Endpoint, request: Request, trail: Trail, change: Change, question: Question
) -> Response:
    """Publish, wait if that is preferred, answer."""
    change.request_id = question.request_id
    record = endpoint.record(question, trail.holder, request.headers.get("traceparent"))
    waited_s = wait_s(request)
    if waited_s is None:
        appended, answer = await endpoint.producer.publish(record), None
    else:
        appended, answer = await endpoint.ask(question.request_id, record, waited_s)
    change.record = appended
    if answer is not None:
        change.outcome = answer.status
    return _response(question, appended, answer, applied(waited_s))


def _response(
    question: Question,
    appended: Appended,
    answer: RequestStatus | None,
    headers: Mapping[str, str],
) -> Response:
    told = {
        "request_id": question.request_id,
        "record": str(appended),
        "answer": None if answer is None else answer_as_dict(answer),
    }
    if answer is not None and answer.status not in YES:
        raise _refusal(answer, told)
    status = HTTPStatus.ACCEPTED if answer is None else YES[answer.status]
    location = {"Location": f"/v1/requests/{question.request_id}"}
    return json_response(told, status, {**location, **headers})


def _refusal(answer: RequestStatus, told: Mapping[str, Any]) -> Problem:
    """An answer that is a no."""
    if answer.status is Status.TOO_LATE:
        detail = "nothing was stopped: everything had left or was on its way"
        return Problem(HTTPStatus.CONFLICT, Code.TOO_LATE, detail, **told)
    if answer.status is Status.UNKNOWN_REQUEST:
        return unknown_request(**told)
    reason = answer.reason or Reason.INVALID_EVENT
    return Problem(status_of(reason), reason, answer.detail or "refused", **told)


def answer_as_dict(answer: RequestStatus) -> dict[str, Any]:
    """An answer, for JSON."""
    return {
        "status": answer.status.value,
        "reason": None if answer.reason is None else answer.reason.value,
        "detail": answer.detail,
        "counts": dict(answer.counts),
        "at": iso(answer.at_ms),
    }


def json_response(
    told: Any, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Response:
    """A result, as JSON."""
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":")) + "\n"  # for curl's sake
    return Response(text.encode(), int(status), headers, "application/json")
