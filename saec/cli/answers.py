"""Waits for SAEC's answers on the status topic.

Invariant: reading starts before the question is published, so no answer is missed.
"""

import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from saec.cli.errors import ExitCode
from saec.contracts.instants import iso
from saec.contracts.rejected import RejectedError
from saec.contracts.status import RequestStatus, Status, decode_status
from saec.kafka.follow import End, Follower
from saec.settings import Settings

ANSWERS = frozenset(Status) - {Status.SKIPPED, Status.EXPIRED, Status.SENT}
"""What a request or a cancel is answered; the others come later, with the messages."""

YES = frozenset({Status.ACCEPTED, Status.DUPLICATE, Status.CANCELLED, Status.ALREADY_CANCELLED})

_POLL_S = 0.05


class Answers:
    """The answers to what is published after this was made."""

    def __init__(self, settings: Settings) -> None:
        self._follower = Follower(settings, [settings.topics.status], End())

    def wait(self, ids: Iterable[str], timeout_s: float) -> list[RequestStatus]:
        """One answer for each id (as often as it stands in `ids`), or what came in time."""
        waiting = Counter(ids)
        answers: list[RequestStatus] = []
        deadline_s = time.monotonic() + timeout_s
        while waiting.total() and time.monotonic() < deadline_s:
            for record in self._follower.poll(_POLL_S):
                answer = _answer(record.value)
                if answer is not None and answer.request_id and waiting[answer.request_id] > 0:
                    waiting[answer.request_id] -= 1
                    answers.append(answer)
        return answers

    def close(self) -> None:
        """Stop reading."""
        self._follower.close()


def exit_code(asked: int, answers: list[RequestStatus]) -> ExitCode:
    """What a command ends with that asked for this many answers."""
    if any(answer.status not in YES for answer in answers):
        return ExitCode.REFUSED
    return ExitCode.OK if len(answers) >= asked else ExitCode.NO_ANSWER


def as_dict(answer: RequestStatus, about: str | None = None) -> dict[str, Any]:
    """An answer, for JSON; `about` is the record that it answers, if that is to be told."""
    told = {
        "request_id": answer.request_id,
        "customer_id": answer.customer_id,
        "status": answer.status.value,
        "reason": None if answer.reason is None else answer.reason.value,
        "counts": dict(answer.counts),
        "detail": answer.detail,
        "at": iso(answer.at_ms),
    }
    return told if about is None else told | {"about": about}


def as_line(answer: RequestStatus, about: str | None = None) -> str:
    """An answer, for people; `about` stands where nobody is named whom it answers."""
    counts = " ".join(f"{name}={count}" for name, count in answer.counts.items())
    customer = answer.customer_id and f"customer {answer.customer_id}"
    subject = answer.request_id or customer or (about and f"record {about}")
    parts = (subject, answer.status, answer.reason, answer.detail, counts)
    return "  ".join(str(part) for part in parts if part)


def _answer(value: bytes | None) -> RequestStatus | None:
    """The answer in a record; None for what is no answer, or one of a later release."""
    try:
        status = decode_status(value or b"")
    except RejectedError:
        return None
    return status if status.status in ANSWERS else None
