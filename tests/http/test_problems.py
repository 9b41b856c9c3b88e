"""What goes wrong is told as RFC 9457 wants it, with the reason codes that the topics have too."""

import json
import uuid
from typing import Any

import pytest

from saec.contracts.rejected import RejectedError
from saec.errors import Reason
from saec.http import problems
from saec.http.problems import Code, Problem, of_rejected, status_of

ID = uuid.uuid4()
MADE = [
    problems.unauthenticated("a"),
    problems.unavailable(Code.POSTGRESQL_UNAVAILABLE, "a"),
    problems.kafka_unavailable(str(ID)),
    problems.unknown_request(),
    problems.too_many_lines(10_000),
    problems.too_busy("a"),
    problems.invalid_parameter("a"),
]


def told(problem: Problem) -> Any:
    return json.loads(problem.body)


@pytest.mark.parametrize("code", [*Code, *Reason])
def test_every_code_can_be_told(code: Code | Reason) -> None:
    problem = Problem(418, code, "what is to be done")
    assert told(problem) == {
        "type": f"urn:saec:problem:{code.value}",
        "title": told(problem)["title"],
        "status": 418,
        "detail": "what is to be done",
        "code": code.value,
    }
    assert told(problem)["title"]


def test_no_code_of_http_means_a_reason_too() -> None:
    assert not {code.value for code in Code} & {reason.value for reason in Reason}


@pytest.mark.parametrize("problem", MADE, ids=lambda problem: problem.code.value)
def test_the_answer_is_the_problem(problem: Problem) -> None:
    response = problem.response
    assert response.status_code == problem.status == told(problem)["status"]
    assert response.media_type == "application/problem+json"
    assert response.headers["content-type"] == "application/problem+json"
    assert response.body == problem.body
    retry = response.headers.get("retry-after")
    assert (retry is not None) == (problem.status == 503)
    assert retry is None or int(retry) > 0
    assert ("www-authenticate" in response.headers) == (problem.status == 401)


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.INVALID_JSON, 400),
        (Reason.NOT_UTF8, 400),
        (Reason.EMPTY_VALUE, 400),
        (Reason.OTHER_REQUESTER, 403),
        (Reason.ID_TAKEN, 409),
        (Reason.VALUE_TOO_LARGE, 413),
        (Reason.DUE_IN_THE_PAST, 422),
        (Reason.INVALID_EVENT, 422),
        (Reason.INVALID_MESSAGE, 422),
        (Reason.UNKNOWN_CHANNEL, 422),
    ],
)
def test_the_status_of_a_reason(reason: Reason, status: int) -> None:
    assert status_of(reason) == status


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_the_callers_own(reason: Reason) -> None:
    """Nothing that SAEC refuses is to be sent again as it is."""
    assert 400 <= status_of(reason) < 500


def test_a_refusal_names_the_request_as_far_as_it_could_be_read() -> None:
    unread, read = (
        RejectedError(Reason.INVALID_JSON, "not JSON"),
        RejectedError(Reason.INVALID_EVENT, "requester: missing", ID),
    )
    assert "request_id" not in told(of_rejected(unread))
    assert told(of_rejected(read))["request_id"] == str(ID)
    known = told(of_rejected(unread, "6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10"))
    assert known["request_id"] == "6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10"
    assert (known["code"], known["detail"]) == ("invalid_json", "not JSON")


def test_members_stand_beside_and_nothing_is_null() -> None:
    problem = Problem(409, Code.TOO_LATE, "a", record="requests/0/1", request_id=None)
    assert told(problem)["record"] == "requests/0/1"
    assert None not in told(problem).values()
