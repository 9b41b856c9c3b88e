"""Holds what came out against what was asked: nothing missing, doubled, early or contradicted."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from saec.contracts.dispatch import DispatchMessage
from saec.contracts.status import RequestStatus, Status
from tests.survival.workload import Request

Message = tuple[str, str, str]
STOPPING = {Status.CANCELLED, Status.TOO_LATE, Status.UNKNOWN_REQUEST, Status.ALREADY_CANCELLED}


@dataclass
class Verdict:
    """How many of each were found; `ok` when all are 0."""

    requests: int = 0
    cancels: int = 0
    cancelled: int = 0
    too_late: int = 0
    dispatched: int = 0
    missing: int = 0
    duplicate: int = 0
    unexpected: int = 0
    early: int = 0
    altered: int = 0
    unanswered: int = 0
    answered_twice: int = 0
    false_answers: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Nothing was found."""
        bad = (
            self.missing,
            self.duplicate,
            self.unexpected,
            self.early,
            self.altered,
            self.unanswered,
            self.answered_twice,
            self.false_answers,
        )
        return not any(bad)

    def find(self, kind: str, what: object, count: int = 1) -> None:
        """Count a finding, and keep the first ones to show."""
        setattr(self, kind, getattr(self, kind) + count)
        if len(self.findings) < 20:
            self.findings.append(f"{kind}: {what}")

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in asdict(self).items())


def judge(
    requests: Iterable[Request],
    messages: Iterable[tuple[DispatchMessage, int]],
    statuses: Iterable[RequestStatus],
) -> Verdict:
    """The verdict. Each message comes with the timestamp of its record, in ms."""
    verdict = Verdict()
    asked = {request.id: request for request in requests}
    verdict.requests = len(asked)
    seen = _seen(verdict, asked, messages)
    answers: dict[str, Counter[Status]] = defaultdict(Counter)
    stops: dict[str, RequestStatus] = {}
    for status in statuses:
        assert status.request_id is not None
        answers[status.request_id][status.status] += 1
        if status.status in STOPPING:
            stops[status.request_id] = status
    for request in asked.values():
        _judge_answers(verdict, request, answers[request.id])
        _judge_messages(verdict, request, seen[request.id], stops.get(request.id))
    return verdict


def _seen(
    verdict: Verdict, asked: dict[str, Request], messages: Iterable[tuple[DispatchMessage, int]]
) -> dict[str, Counter[Message]]:
    seen: dict[str, Counter[Message]] = defaultdict(Counter)
    for message, timestamp_ms in messages:
        verdict.dispatched += 1
        key = (str(message.request_id), message.customer_id or "", message.channel.value)
        request = asked.get(key[0])
        if request is None:
            verdict.find("unexpected", key)
            continue
        seen[key[0]][key] += 1
        if min(message.dispatched_at_ms, timestamp_ms) < request.due_at_ms:
            verdict.find("early", key)
        if message.message.body != request.body.encode():
            verdict.find("altered", key)
    return seen


def _judge_answers(verdict: Verdict, request: Request, answers: Counter[Status]) -> None:
    accepted = answers[Status.ACCEPTED]
    stopping = sum(answers[status] for status in STOPPING)
    wanted = int(request.cancel_at_ms is not None)
    verdict.cancels += wanted
    verdict.cancelled += answers[Status.CANCELLED]
    verdict.too_late += answers[Status.TOO_LATE]
    if accepted == 0 or stopping < wanted:
        verdict.find("unanswered", (request.id, dict(answers)))
    if accepted > 1 or stopping > wanted:
        verdict.find("answered_twice", (request.id, dict(answers)))
    # There is one cancel of each, and it comes behind its request in the same partition.
    if answers[Status.UNKNOWN_REQUEST] or answers[Status.ALREADY_CANCELLED]:
        verdict.find("false_answers", (request.id, dict(answers)))


def _judge_messages(
    verdict: Verdict, request: Request, seen: Counter[Message], stop: RequestStatus | None
) -> None:
    expected = set(request.messages())
    doubled = sum(count - 1 for count in seen.values())
    if doubled:
        verdict.find("duplicate", request.id, doubled)
    strange = seen.keys() - expected
    if strange:
        verdict.find("unexpected", strange, len(strange))
    missing = expected - seen.keys()
    if stop is None or stop.status is not Status.CANCELLED:
        if missing:
            verdict.find("missing", (request.id, stop and stop.status), len(missing))
        return
    # Skipped messages count as left: they were on their way. Of opted-out customers none goes out.
    skipped = _all_messages(request) - len(expected)
    left, stopped = stop.counts["messages_left"], stop.counts["messages_stopped"]
    true = left - skipped <= len(seen) <= left and left + stopped == _all_messages(request)
    if not true:
        verdict.find("false_answers", (request.id, dict(stop.counts), len(seen)))


def _all_messages(request: Request) -> int:
    return sum(1 if channel == "PUSH" else len(request.customers) for channel in request.channels)
