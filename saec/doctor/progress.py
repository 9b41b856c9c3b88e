"""Whether work goes on: what is read, what is dispatched, and what stands in the way."""

from collections.abc import Iterator, Mapping

from saec.doctor.findings import Finding, error, or_fine, some, warning
from saec.doctor.patient import Patient
from saec.kafka.ledger import Ends
from saec.kafka.survey import Place

_LAG_RECORDS = 10_000
_LATE_MS = 60_000
_POLL_S = 0.1
_HALTS = "docs/operations.md, Halted shards"


def requests_lag(patient: Patient) -> list[Finding]:
    """Requests and cancels that were not taken yet."""
    return _lag(patient, "requests", patient.settings.topics.requests)


def customers_lag(patient: Patient) -> list[Finding]:
    """Registrations and erasures that were not taken yet: they look up an older state."""
    return _lag(patient, "customers", patient.settings.topics.customers)


def requesters_lag(patient: Patient) -> list[Finding]:
    """Requests and cancels in topics of requesters that were not forwarded yet."""
    topics = patient.settings.requester_topics
    found = [one for topic in topics for one in _lag(patient, "requesters", topic)]
    return found or or_fine("requesters_lag", [], "no requester has a topic of its own")


def _lag(patient: Patient, role: str, topic: str) -> list[Finding]:
    name = f"{role}_lag"
    if topic not in patient.survey.topics:
        return [error(name, f"{topic} is missing", "Run `saec init`.")]
    ends, group = patient.survey.ends([topic]), patient.groups[role]
    bad = list(_gaps(name, ends, group.offsets))
    # To the very end: what stands behind an open transaction waits too.
    waiting = sum(
        max(end.uncommitted - max(group.offsets.get(place, 0), end.start), 0)
        for place, end in ends.items()
    )
    behind = [place for place, end in sorted(ends.items()) if not end.settled]
    held = f", behind an open transaction in partitions {some(p for _, p in behind)}"
    records = f"{waiting:,} records of {topic} wait" + (held if behind and waiting else "")
    unread = [partition for _, partition in sorted(ends.keys() - group.assigned)]
    start = f"Start `python -m consumers.{role}`, or look at its log."
    if unread:
        found = f"nobody reads {topic}, partitions {some(unread)}; {waiting:,} records wait"
        bad.append((error if waiting else warning)(name, found, start))
    elif waiting > _LAG_RECORDS:
        advice = f"Wait, or run more of `consumers.{role}` (up to one a partition)."
        bad.append(warning(name, records, advice))
    return or_fine(name, bad, records)


def _gaps(name: str, ends: Mapping[Place, Ends], offsets: Mapping[Place, int]) -> Iterator[Finding]:
    for place, end in sorted(ends.items()):
        if (at := offsets.get(place)) is not None and at < end.start:
            yield error(
                name,
                f"{_named(place)}: offsets {at} to {end.start - 1} were deleted before they were "
                "read",
                "Have them sent again, lengthen the retention, and set the group's offset to "
                f"{end.start} with the group stopped.",
            )


def positions(patient: Patient) -> list[Finding]:
    """Ingest stores before it answers: a database behind the group was restored."""
    name = "positions"
    saved, bad = patient.stored.positions, []
    sources = [patient.settings.topics.requests, patient.settings.topics.customers]
    offsets = {
        p: at
        for role in ("requests", "customers")
        for p, at in patient.groups[role].offsets.items()
        if p[0] in sources
    }
    behind = [place for place, at in sorted(offsets.items()) if saved.get(place, 0) < at]
    if behind:
        bad.append(
            error(
                name,
                "the database does not know what was answered, so it went back in time: "
                + some(map(_named, behind)),
                "Stop all processes, and bring PostgreSQL to where it was: docs/operations.md, "
                "After a restore.",
            )
        )
    ends = patient.survey.ends([topic for topic in sources if topic in patient.survey.topics])
    beyond = [p for p, at in sorted(saved.items()) if p in ends and at > ends[p].uncommitted]
    if beyond:
        bad.append(
            error(
                name,
                f"the database knows more than the topic holds: {some(map(_named, beyond))}",
                "The topic was deleted, recreated or cut: find out what was lost before you go on.",
            )
        )
    return or_fine(name, bad, "the database knows all that was answered")


def ledger(patient: Patient) -> list[Finding]:
    """A ledger that ends before what was applied of it was replaced."""
    name, topic = "ledger", patient.settings.topics.ledger
    ends = patient.survey.ends([topic] if topic in patient.survey.topics else [])
    behind = [
        state.shard
        for state in patient.stored.shards
        if (topic, state.shard) in ends
        and ends[topic, state.shard].uncommitted < state.ledger_offset
    ]
    bad = (
        [
            error(
                name,
                f"it ends before what was applied of it, in shards {some(behind)}",
                "The ledger was deleted or replaced: put it back. Its shards will be halted.",
            )
        ]
        if behind
        else []
    )
    return or_fine(name, bad, "it reaches as far as it was applied")


def hanging_transactions(patient: Patient) -> list[Finding]:
    """Transactions that are open for longer than they may be stop all who read committed."""
    name, there = "hanging_transactions", patient.survey.topics
    topics = [topic for topic in patient.settings.all_topics if topic in there]
    first = patient.survey.ends(topics)
    until_s = patient.clock.monotonic_s() + patient.wait_s
    hanging = _unsettled(first, first)
    while hanging and patient.clock.monotonic_s() < until_s:
        patient.clock.wait(patient.never, _POLL_S)
        hanging = _unsettled(first, patient.survey.ends(topics))
    if not hanging:
        return or_fine(name, [], "no transaction stays open")
    return [
        error(
            name,
            f"open for more than {patient.wait_s:g} s: {some(map(_named, hanging))}",
            "Readers stand still there; on the topic of requests nobody's cancels are heard. Whose "
            "it is says `kafka-transactions.sh describe-producers --topic … --partition …`, then "
            "`list`. Its producer ends it, or the broker after the time-out that the producer set; "
            "if it stays, `abort` ends it.",
        )
    ]


def _unsettled(first: Mapping[Place, Ends], now: Mapping[Place, Ends]) -> list[Place]:
    """Where readers of committed records still stand before what had been written at first."""
    return [place for place, end in sorted(first.items()) if now[place].committed < end.uncommitted]


def halted_shards(patient: Patient) -> list[Finding]:
    """A halted shard waits for a person."""
    bad = [
        error(
            "halted_shards",
            f"shard {state.shard}: {state.halted}",
            f"Find the cause, remove it, and clear the halt: {_HALTS}.",
        )
        for state in patient.stored.shards
        if state.halted is not None
    ]
    return or_fine("halted_shards", bad, "none")


def unowned_shards(patient: Patient) -> list[Finding]:
    """A shard that no worker is assigned waits for one."""
    name, topic = "unowned_shards", patient.settings.topics.ledger
    assigned = {partition for t, partition in patient.groups["dispatch"].assigned if t == topic}
    unowned = [state for state in patient.stored.shards if state.shard not in assigned]
    bad = []
    if unowned:
        waits = any(_is_due(state.next_due_ms, patient.stored.now_ms) for state in unowned)
        found = f"no worker has shards {some(state.shard for state in unowned)}"
        found += "; messages are due there" if waits else ""
        advice = "Start `python -m producers.dispatch`, or look at its log."
        bad.append((error if waits else warning)(name, found, advice))
    return or_fine(name, bad, f"{len(assigned)} shards, {_workers(patient)} worker(s)")


def overdue(patient: Patient) -> list[Finding]:
    """Messages that should have left."""
    name, now_ms = "overdue", patient.stored.now_ms
    late = [
        state.shard
        for state in patient.stored.shards
        if _is_due(state.next_due_ms, now_ms - _LATE_MS)
    ]
    advice = "If nothing is wrong above, workers are behind: look at their logs, run more."
    found = f"messages of more than a minute ago are pending in shards {some(late)}"
    return or_fine(name, [warning(name, found, advice)] if late else [], "nothing")


def _is_due(due_ms: int | None, now_ms: int) -> bool:
    return due_ms is not None and due_ms <= now_ms


def _workers(patient: Patient) -> int:
    return patient.groups["dispatch"].members


def _named(place: Place) -> str:
    return f"{place[0]} partition {place[1]}"
