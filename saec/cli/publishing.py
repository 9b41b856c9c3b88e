"""What `submit` and `cancel` have in common: publish, wait for the answers, tell.

Invariant: what was not acknowledged is told, with what to do, and never counted as published.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import typer

from saec.cli import answers, output
from saec.cli.answers import Answers
from saec.cli.errors import ExitCode
from saec.contracts.headers import Headers
from saec.contracts.status import RequestStatus
from saec.kafka.publish import Delivery, publish
from saec.kafka.records import Outgoing
from saec.settings import Settings

JSON_HEADERS: Headers = [("content-type", b"application/json")]
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Question:
    """A request or a cancel, valid, as JSON."""

    request_id: str
    value: bytes


def ask(
    settings: Settings, questions: Sequence[Question], wait_s: float | None, *, as_json: bool
) -> None:
    """Publish, wait when asked to, print what became of it; ends the command."""
    said: list[RequestStatus] = []
    with ExitStack() as stack:
        reader = Answers(settings) if wait_s is not None else None
        if reader is not None:
            stack.callback(reader.close)
        delivery = _publish(settings, questions)
        failed = {failure.index for failure in delivery.failures}
        ids = [q.request_id for index, q in enumerate(questions) if index not in failed]
        if reader is not None and wait_s is not None:
            said = reader.wait(ids, wait_s)
    if as_json:
        output.as_json(_as_dict(ids, delivery, said, waited=reader is not None))
    else:
        _tell(ids, said, waited=reader is not None)
    _tell_failures(delivery)
    code = answers.exit_code(len(ids), said) if reader is not None else ExitCode.OK
    raise typer.Exit(ExitCode.UNAVAILABLE if delivery.failures else code)


def _publish(settings: Settings, questions: Sequence[Question]) -> Delivery:
    records = (
        Outgoing(settings.topics.requests, q.value, q.request_id.encode(), JSON_HEADERS)
        for q in questions
    )
    with output.progress("Publishing", len(questions)) as advance:
        return publish(settings, records, advance)


def _as_dict(
    ids: list[str], delivery: Delivery, said: list[RequestStatus], *, waited: bool
) -> dict[str, Any]:
    told: dict[str, Any] = {"published": len(ids), "ids": ids, "failed": len(delivery.failures)}
    if waited:
        told["answers"] = [answers.as_dict(answer) for answer in said]
        told["unanswered"] = len(ids) - len(said)
    return told


def _tell(ids: list[str], said: list[RequestStatus], *, waited: bool) -> None:
    """A line each, for scripts always, for people only when there are few."""
    answered = Counter(answer.request_id or "" for answer in said)
    unanswered = list((Counter(ids) - answered).elements())
    lines = [*(answers.as_line(answer) for answer in said), *unanswered]
    if output.stdout_is_terminal() and len(lines) > _SHOWN:
        refused = [answers.as_line(a) for a in said if a.status not in answers.YES]
        count = f"{len(said):,} answered" if waited else f"{len(ids):,} published"
        lines = [count, *refused[:_SHOWN]]
    for text in lines:
        output.line(text)
    if waited and unanswered:
        output.note(
            f"{len(unanswered):,} of {len(ids):,} not answered in time: does "
            f"`python -m consumers.requests` run? Ask later with `saec status {unanswered[0]}`."
        )


def _tell_failures(delivery: Delivery) -> None:
    if delivery.failures:
        output.error(
            f"{output.counted(len(delivery.failures), 'record')} not acknowledged: "
            f"{delivery.failures[0].why}. Give them again with the same ids: what did arrive is "
            "answered DUPLICATE, nothing is sent twice."
        )
