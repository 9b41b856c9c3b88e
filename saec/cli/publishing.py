"""What `submit` and `cancel` have in common: publish, wait for the answers, tell.

Invariant: what was not acknowledged is told, with what to do, and never counted as published.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
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
    is_cancel: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of the questions."""

    delivery: Delivery
    refused: dict[int, RequestStatus] = field(default_factory=dict)
    """Those that were refused instead of published, by their place in what was given."""
    said: list[RequestStatus] = field(default_factory=list)
    """SAEC's answers to those that were published."""
    ask_later: str = "`saec status {}`"
    """How to ask for an answer that did not come; the braces stand for the request's id."""

    def published(self, questions: Sequence[Question]) -> list[str]:
        """The ids of those that were published."""
        others = {failure.index for failure in self.delivery.failures} | self.refused.keys()
        return [q.request_id for index, q in enumerate(questions) if index not in others]


Put = Callable[[Sequence[Question], float | None], Outcome]
"""A way to SAEC: publishes, and waits for the answers for so many seconds, if any are given."""


def over_kafka(settings: Settings) -> Put:
    """The way that publishes to the topic itself."""
    return partial(_put, settings)


def ask(put: Put, questions: Sequence[Question], wait_s: float | None, *, as_json: bool) -> None:
    """Publish, wait when asked to, print what became of it; ends the command."""
    outcome = put(questions, wait_s)
    ids, waited = outcome.published(questions), wait_s is not None
    if as_json:
        output.as_json(_as_dict(ids, outcome, waited=waited))
    else:
        _tell(ids, outcome, waited=waited)
    _tell_failures(questions, outcome.delivery)
    said = [*outcome.refused.values(), *outcome.said]
    code = answers.exit_code(len(ids) if waited else 0, said)
    raise typer.Exit(ExitCode.UNAVAILABLE if outcome.delivery.failures else code)


def _put(settings: Settings, questions: Sequence[Question], wait_s: float | None) -> Outcome:
    """To Kafka, and from there."""
    if wait_s is None:
        return Outcome(_publish(settings, questions))
    with closing(Answers(settings)) as reader:
        outcome = Outcome(_publish(settings, questions))
        outcome.said += reader.wait(outcome.published(questions), wait_s)
    return outcome


def _publish(settings: Settings, questions: Sequence[Question]) -> Delivery:
    records = (
        Outgoing(settings.topics.requests, q.value, q.request_id.encode(), JSON_HEADERS)
        for q in questions
    )
    with output.progress("Publishing", len(questions)) as advance:
        return publish(settings, records, advance)


def _as_dict(ids: list[str], outcome: Outcome, *, waited: bool) -> dict[str, Any]:
    failed = len(outcome.delivery.failures)
    told: dict[str, Any] = {"published": len(ids), "ids": ids, "failed": failed}
    if waited or outcome.refused:
        said = [*outcome.refused.values(), *outcome.said]
        told["answers"] = [answers.as_dict(answer) for answer in said]
    if waited:
        told["unanswered"] = len(ids) - len(outcome.said)
    return told


def _tell(ids: list[str], outcome: Outcome, *, waited: bool) -> None:
    """A line each, for scripts always, for people only when there are few."""
    answered = Counter(answer.request_id or "" for answer in outcome.said)
    unanswered = list((Counter(ids) - answered).elements())
    said = [*outcome.refused.values(), *outcome.said]
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
            "`python -m consumers.requests` run? Ask later with "
            f"{outcome.ask_later.format(unanswered[0])}."
        )


def _tell_failures(questions: Sequence[Question], delivery: Delivery) -> None:
    if delivery.failures:
        first = delivery.failures[0]
        output.error(
            f"{output.counted(len(delivery.failures), 'record')} not acknowledged: {first.why}. "
            f"Give them again with the same ids, from {questions[first.index].request_id} on: what "
            "did arrive is answered DUPLICATE, nothing is sent twice."
        )
