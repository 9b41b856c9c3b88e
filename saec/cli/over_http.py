"""Requests and cancels through the HTTP endpoint: what Kafka would be given, in few calls.

Invariant: what counts as published, the endpoint said that Kafka has; what is not known to be
published or refused is told as a failure, and may be given again with the same ids.
"""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ValidationError

from saec.cli import output
from saec.cli.endpoint import Access, Endpoint, EndpointError, NotTakenError, Problem, Reply
from saec.cli.instants import wall_ms
from saec.cli.publishing import Outcome, Put, Question
from saec.contracts.instants import instant_ms
from saec.contracts.status import RequestStatus, Status
from saec.errors import Reason
from saec.kafka.publish import Delivery, Failure

LINES = 500
"""In one call, of the 10,000 that it may have: every refusal of a call is told, and a key with a
low rate gets through before the time-out."""
_BYTES = 4_000_000
"""In one call, unless a single line has more."""
LONGEST_WAIT_S = 60
_ONE_S, _MANY_S = 45.0, 150.0
_Read = TypeVar("_Read", bound=BaseModel)


class _Answer(BaseModel):
    """What SAEC said, as the endpoint tells it."""

    status: Status
    reason: Reason | None
    detail: str | None
    counts: dict[str, int]
    at: Annotated[int, BeforeValidator(instant_ms)]
    line: int = 1
    """Where it stands in a call with many."""

    def of(self, request_id: str) -> RequestStatus:
        """The same as it stands on saec.status."""
        return RequestStatus(
            request_id, self.status, self.at, self.reason, self.counts, self.detail
        )


class _One(BaseModel):
    """The answer to a call with one."""

    record: str | None = None
    answer: _Answer | None = None


class _Refusal(Problem):
    line: int


class _Many(BaseModel):
    """The answer to a call with a line each."""

    lines: int = 0
    refusals: list[_Refusal] = []
    answered: list[_Answer] = []
    resend_from_line: int | None = None


def over_http(url: str, key_file: Path | None, ca_file: Path | None) -> Put:
    """The way to SAEC that leads through the endpoint. Raises InputError."""
    return partial(_put, Access.of(url, key_file, ca_file))


def _put(access: Access, questions: Sequence[Question], wait_s: float | None) -> Outcome:
    """Send all, in order; what follows a call that failed is not sent.

    Raises:
        NotTakenError: nothing was published.
    """
    with (
        closing(Endpoint(access)) as endpoint,
        output.progress("Publishing", len(questions)) as advance,
    ):
        calls = _Calls(endpoint, _seconds(wait_s))
        try:
            for call in _divided(questions):
                calls.make(call)
                advance(calls.settled)
        except EndpointError as error:
            if isinstance(error, NotTakenError) and not calls.settled:
                raise
            left = range(calls.settled, len(questions))
            calls.outcome.delivery.failures += [Failure(index, str(error)) for index in left]
    return calls.outcome


class _Calls:
    """The calls of one command. `wait_s` is how long each waits for its answers."""

    def __init__(self, endpoint: Endpoint, wait_s: int | None) -> None:
        self._endpoint = endpoint
        self._wait_s = wait_s
        self.outcome = Outcome(Delivery(), ask_later="`GET /v1/requests/{}`")
        self.settled = 0
        """So many, from the first on, are published or refused."""

    def make(self, call: Sequence[Question]) -> None:
        """Make the next call. Raises EndpointError: the rest of it is not settled."""
        if len(call) == 1:
            self._one(call[0])
        else:
            self._many(call)

    def _one(self, question: Question) -> None:
        path, body = _addressed(question)
        reply = self._post(path, body, "application/json", _ONE_S)
        told = _read(_One, reply)
        if told.answer is not None:
            self.outcome.said.append(told.answer.of(question.request_id))
        elif reply.problem is not None:
            if _reason(reply.problem.code) is None:
                raise _failed(reply.problem)
            self._refuse(question, 1, reply.problem)
        elif told.record is None:
            raise _no_endpoint()
        self._settle(1)

    def _many(self, call: Sequence[Question]) -> None:
        body = b"\n".join(question.value for question in call)
        reply = self._post("/v1/requests", body, "application/jsonl", _MANY_S)
        told = _read(_Many, reply)
        if reply.problem is None:
            done = told.lines
        elif told.resend_from_line is not None:
            done = told.resend_from_line - 1
        else:
            raise _failed(reply.problem)
        if not 0 <= done <= len(call) or (reply.problem is None and done < len(call)):
            raise _no_endpoint()
        self._take(call[:done], told)
        if reply.problem is not None:
            raise _failed(reply.problem)

    def _take(self, done: Sequence[Question], told: _Many) -> None:
        """Take in what became of the lines of a call, the first of which were `done`."""
        answered = {answer.line: answer for answer in told.answered}
        refused = {refusal.line: refusal for refusal in told.refusals}
        for line, question in enumerate(done, 1):
            if line in answered:
                self.outcome.said.append(answered[line].of(question.request_id))
            elif line in refused:
                self._refuse(question, line, refused[line])
            else:
                self._wait_s = None  # for one in vain: else all calls together would wait for hours
        self._settle(len(done))

    def _refuse(self, question: Question, line: int, problem: Problem) -> None:
        """Line number `line` of this call was not published."""
        self.outcome.refused[self.settled + line - 1] = RequestStatus(
            question.request_id,
            Status.REJECTED,
            wall_ms(),
            _reason(problem.code),
            detail=problem.detail,
        )

    def _settle(self, lines: int) -> None:
        self.settled += lines
        self.outcome.delivery.delivered = self.settled - len(self.outcome.refused)

    def _post(self, path: str, body: bytes, content_type: str, timeout_s: float) -> Reply:
        headers = {} if self._wait_s is None else {"prefer": f"wait={self._wait_s}"}
        timeout_s += self._wait_s or 0
        return self._endpoint.post(path, body, timeout_s, content_type=content_type, **headers)


def _divided(questions: Sequence[Question]) -> Iterator[Sequence[Question]]:
    """The questions of each call."""
    call: list[Question] = []
    size = 0
    for question in questions:
        if call and (len(call) == LINES or size + len(question.value) > _BYTES):
            yield call
            call, size = [], 0
        call.append(question)
        size += len(question.value) + 1
    if call:
        yield call


def _addressed(question: Question) -> tuple[str, bytes]:
    """Path and body of a call with one."""
    if not question.is_cancel:
        return "/v1/requests", question.value
    named = json.loads(question.value).get("requester")
    body = b"" if named is None else json.dumps({"requester": named}).encode()
    return f"/v1/requests/{question.request_id}/cancel", body


def _seconds(wait_s: float | None) -> int | None:
    """What is asked for: whole seconds, and no more than the endpoint grants."""
    if wait_s is None:
        return None
    if wait_s > LONGEST_WAIT_S:
        output.note(f"Over HTTP one waits {LONGEST_WAIT_S} s at most.")
    return min(math.ceil(wait_s), LONGEST_WAIT_S)


def _read(kind: type[_Read], reply: Reply) -> _Read:
    try:
        return kind.model_validate_json(reply.body)
    except ValidationError:
        if reply.problem is not None:
            raise _failed(reply.problem) from None
        raise _no_endpoint() from None


def _reason(code: str) -> Reason | None:
    """The reason of this code; None for one that only HTTP has, or a later release."""
    return next((reason for reason in Reason if reason == code), None)


def _failed(problem: Problem) -> EndpointError:
    return EndpointError(
        output.printable(f"the endpoint answered {problem.code}: {problem.detail}")
    )


def _no_endpoint() -> EndpointError:
    return EndpointError(
        "what answered is no endpoint of SAEC, or of a later release: check --http"
    )
