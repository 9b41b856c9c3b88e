"""Away: Kafka is killed while requests come in by HTTP, and started again after a while.

Invariant: every id that was answered with 202 is looked for in the topic; one that was answered
with 503 may be there, since its sender is told to send it again.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from bench.http.calls import Answer, calling
from bench.http.counted import appended
from bench.http.endpoints import Running
from bench.instants import pause
from bench.lab import Lab
from bench.meter import OTHERS, Meter
from bench.outcome import Run
from bench.part import Options
from bench.reader import reading
from bench.seen import Lateness, Seen

FIGURES = (
    "202",
    "503",
    "before, p99_ms",
    "away, p99_ms",
    "after, p99_ms",
    "first 503 after, s",
    "Kafka started in, s",
    "first 202 after the start, s",
)
_READ_S = 30.0


@dataclass(frozen=True)
class Instants:
    """Of the monotonic clock: calls began, Kafka was killed, was started, answered again."""

    began_s: float
    killed_s: float
    started_s: float
    back_s: float


def away_run(lab: Lab, endpoint: Running, given: Options) -> Run:
    """One outage."""
    topic = endpoint.site.settings.topics.requests
    before = appended(endpoint.site)
    with (
        Meter({endpoint.process: endpoint.pid}) as meter,
        reading(lab.bootstrap_servers, [topic], lab.fresh("seen"), by_key=True) as reader,
    ):
        with calling(endpoint, given.rate, given.away_connections) as calls:
            pause(given.before)
            killed_s = time.monotonic()
            lab.kill_broker()
            pause(max(0.0, killed_s + given.away - time.monotonic()))
            started_s = time.monotonic()
            lab.start_broker()
            instants = Instants(calls.began_s, killed_s, started_s, time.monotonic())
            pause(given.after)
        weights = meter.weights()
        # Not counted: starting Kafka takes more of the machine than anybody else.
        del weights[OTHERS]
        reader.wait_for(appended(endpoint.site) - before, longest_pause_s=_READ_S)
        records = Counter(id_.decode() for id_, _ in reader.finish().records())
    return Run(0, kept(calls.answers, records), weights, told(calls.answers, records, instants))


def kept(answers: Iterable[Answer], records: Counter[str]) -> Seen:
    """What was answered, held against the ids in the topic."""
    asked = {answer.id_ for answer in answers}
    yes = {answer.id_ for answer in answers if answer.status == HTTPStatus.ACCEPTED}
    return Seen(
        messages=len(yes),
        missing=len(yes - records.keys()),
        duplicate=sum(count - 1 for count in records.values()),
        unexpected=len(records.keys() - asked),
        early=0,
        seconds=0.0,
        rate=0,
        lateness=None,
    )


def told(answers: Sequence[Answer], records: Counter[str], at: Instants) -> dict[str, Any]:
    """What callers saw of it: how many of what, how long it took, and each second's answers."""
    no = [one for one in answers if one.status == HTTPStatus.SERVICE_UNAVAILABLE]
    yes = [one for one in answers if one.status == HTTPStatus.ACCEPTED]
    return {
        "202": len(yes),
        "503": len(no),
        "others": len(answers) - len(yes) - len(no),
        "503 without Retry-After": sum(not one.retry_after for one in no),
        "503 but in the topic": sum(one.id_ in records for one in no),
        **_waits(answers, at),
        "first 503 after, s": _first(no, at.killed_s),
        "Kafka started in, s": round(at.back_s - at.started_s, 3),
        "first 202 after the start, s": _first(yes, at.started_s),
        "by second: 202, 503, others": by_second(answers, at.began_s),
    }


def wrong(measured: Mapping[str, Any]) -> list[str]:
    """In words, what no caller should see."""
    never = ("others", "503 without Retry-After")
    return [f"Kafka away, {what}: {measured[what]}" for what in never if measured[what]]


def by_second(answers: Iterable[Answer], began_s: float) -> list[tuple[int, int, int]]:
    """How many 202, 503 and others were answered in each second."""
    known = (HTTPStatus.ACCEPTED, HTTPStatus.SERVICE_UNAVAILABLE)
    counts = Counter(
        (int(one.answered_s - began_s), one.status if one.status in known else None)
        for one in answers
    )
    last = max((second for second, _ in counts), default=-1)
    yes, no = known
    return [
        (counts[second, yes], counts[second, no], counts[second, None])
        for second in range(last + 1)
    ]


def _waits(answers: Iterable[Answer], at: Instants) -> dict[str, float | None]:
    """Of calls that were over before Kafka was killed, of those made when it was back, the rest."""
    phases: dict[str, list[float]] = {"before": [], "away": [], "after": []}
    for one in answers:
        over, back = one.answered_s < at.killed_s, one.due_s >= at.back_s
        phases["before" if over else "after" if back else "away"].append(one.wait_ms)
    return {
        f"{name}, p99_ms": Lateness.of(waits).p99_ms if waits else None
        for name, waits in phases.items()
    }


def _first(answers: Iterable[Answer], since_s: float) -> float | None:
    """How long after an instant the first of these came, in seconds; None: none did."""
    came_s = [one.answered_s - since_s for one in answers if one.answered_s >= since_s]
    return round(min(came_s), 3) if came_s else None
