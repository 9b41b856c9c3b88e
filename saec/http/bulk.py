"""Many requests and cancels in one call, a line each: read, checked and published as they come.

Invariant: a line counts as published when Kafka has it, whatever becomes of the others; memory does
not grow with the body; every line has its line in the audit trail.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from saec.contracts.rejected import RejectedError
from saec.contracts.status import RequestStatus
from saec.errors import Reason
from saec.http import questions
from saec.http.answers import Expected
from saec.http.asking import YES, answer_as_dict, json_response
from saec.http.bodies import read_lines
from saec.http.endpoint import Endpoint
from saec.http.keyring import Holder
from saec.http.preferences import applied, wait_s
from saec.http.problems import (
    Problem,
    kafka_unavailable,
    of_rejected,
    too_busy,
    too_many_lines,
    too_many_requests,
)
from saec.http.questions import Question
from saec.http.trail import Change, Trail
from saec.kafka.async_producer import Appended
from saec.keys import Scope

MOST_LINES = 10_000
_SHOWN = 1_000
_ON_THEIR_WAY = 500
_BULKS_A_KEY = 4  # of those that one process takes: a slow sender may take a quarter of an hour


async def schedule_many(endpoint: Endpoint, request: Request) -> Response:
    """POST /v1/requests: JSON lines."""
    async with endpoint.keyring.admitted(request, Scope.SCHEDULE) as holder:
        if holder.bulks >= _BULKS_A_KEY:
            raise too_many_requests(f"more than {_BULKS_A_KEY} bulk calls at a time")
        if endpoint.bulks.locked():
            raise too_busy("as many bulk calls as may are under way")
        holder.bulks += 1
        try:
            async with endpoint.bulks:
                return await _Bulk(endpoint, holder, request).run()
        finally:
            holder.bulks -= 1


@dataclass(slots=True)
class _Tally:
    """What became of the lines so far."""

    lines: int = 0
    published: int = 0
    refused: int = 0
    refusals: list[dict[str, Any]] = field(default_factory=list)
    unacknowledged: list[int] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    answered: list[dict[str, Any]] = field(default_factory=list)

    def refuse(self, line: int, code: str, detail: str, request_id: str | None) -> None:
        """Line number `line` is refused, here or by SAEC's answer."""
        self.refused += 1
        if len(self.refusals) < _SHOWN:
            told = {"line": line, "request_id": request_id, "code": code, "detail": detail}
            self.refusals.append(told)

    def answer(self, line: int, answer: RequestStatus) -> None:
        """SAEC answered line number `line`."""
        self.answers[answer.status] += 1
        if len(self.answered) < _SHOWN:
            named = {"line": line, "request_id": answer.request_id}
            self.answered.append(named | answer_as_dict(answer))
        if answer.status not in YES:
            code = answer.reason or answer.status.lower()
            self.refuse(line, code, answer.detail or "", answer.request_id)

    def as_dict(self, *, waited: bool) -> dict[str, Any]:
        """For JSON."""
        told: dict[str, Any] = {
            "lines": self.lines,
            "published": self.published,
            "refused": self.refused,
            "refusals": self.refusals,
        }
        if self.unacknowledged:
            told["resend_from_line"] = min(self.unacknowledged)
        if waited:
            unanswered = self.published - self.answers.total()
            told |= {
                "answers": dict(self.answers),
                "answered": self.answered,
                "unanswered": unanswered,
            }
        return told


class _Bulk:
    """One call."""

    def __init__(self, endpoint: Endpoint, holder: Holder, request: Request) -> None:
        self._endpoint = endpoint
        self._holder = holder
        self._trail = Trail.of(holder, request)
        self._request = request
        self._traceparent = request.headers.get("traceparent")
        self._wait_s = wait_s(request)
        self._tally = _Tally()
        self._room = asyncio.Semaphore(_ON_THEIR_WAY)
        self._tasks: set[asyncio.Task[None]] = set()
        self._expected: set[Expected] = set()

    async def run(self) -> Response:
        """Take every line; the answer to the call."""
        try:
            await self._read()
        except Problem as problem:
            await self._finish(0)
            problem.members |= self._tally.as_dict(waited=False)
            raise
        except ClientDisconnect:
            await self._finish(0)
            raise
        await self._finish(self._wait_s or 0)
        return self._response()

    def _response(self) -> Response:
        tally = self._tally
        told = tally.as_dict(waited=self._wait_s is not None)
        if tally.unacknowledged:
            raise kafka_unavailable(**told)
        if not tally.lines:
            raise of_rejected(RejectedError(Reason.EMPTY_VALUE, "no line"))
        status = HTTPStatus.ACCEPTED if self._wait_s is None else HTTPStatus.OK
        return json_response(told, status, applied(self._wait_s))

    async def _read(self) -> None:
        """Start every line; ends early when Kafka does not answer, or the key is good no more."""
        tally, most_bytes = self._tally, self._endpoint.settings.max_request_bytes
        async for number, line in read_lines(self._request, most_bytes, self._check_key):
            if tally.unacknowledged:
                return
            if tally.lines >= MOST_LINES:
                raise too_many_lines(MOST_LINES)
            await self._holder.limiter.acquire()  # slows the sender down
            await self._take(number, line, most_bytes)

    def _check_key(self) -> None:
        self._endpoint.keyring.check(self._holder, Scope.SCHEDULE)

    async def _take(self, number: int, line: bytes, most_bytes: int) -> None:
        """Start a line, as soon as there is room among those on their way to Kafka."""
        await self._room.acquire()
        question = None
        try:
            self._check_key()  # last of all: waiting may have taken long
            self._tally.lines += 1
            question = await self._question(number, line, most_bytes)
        finally:
            if question is None:
                self._room.release()
        if question is not None:
            task = asyncio.create_task(self._put(number, question))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _question(self, number: int, line: bytes, most_bytes: int) -> Question | None:
        """What a line asks for; None: it is refused."""
        try:
            return await self._endpoint.validated(
                self._holder, questions.of_line, line, self._holder.requester, most_bytes
            )
        except RejectedError as error:
            named = None if error.request_id is None else str(error.request_id)
            self._tally.refuse(number, error.reason, error.detail, named)
            self._trail.tell(Change("schedule", named, outcome=error.reason))
            await asyncio.sleep(0)  # else nobody is served before the last of those that are here
            return None

    async def _put(self, number: int, question: Question) -> None:
        """In a task: publish a line, and hear the answer if that is waited for."""
        try:
            with self._trail.change(question.action, question.request_id) as change:
                if self._wait_s is None:
                    change.record = await self._publish(question)
                else:
                    await self._ask(number, question, change)
        except Problem:
            self._tally.unacknowledged.append(number)

    async def _publish(self, question: Question) -> Appended:
        record = self._endpoint.record(question, self._holder, self._traceparent)
        try:
            appended = await self._endpoint.producer.publish(record)
        finally:
            self._room.release()
        self._tally.published += 1
        return appended

    async def _ask(self, number: int, question: Question, change: Change) -> None:
        with self._endpoint.answers.expecting(question.request_id) as expected:
            self._expected.add(expected)
            change.record = await self._publish(question)
            answer = await expected.to(change.record)
            self._expected.discard(expected)
        if answer is not None:
            change.outcome = answer.status
            self._tally.answer(number, answer)

    async def _finish(self, wait_s: float) -> None:
        """Wait until every line is published, and for `wait_s` seconds more for the answers."""
        for _ in range(_ON_THEIR_WAY):
            await self._room.acquire()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=wait_s)
        for expected in self._expected:
            expected.give_up()
        while self._tasks:
            await asyncio.wait(self._tasks)
