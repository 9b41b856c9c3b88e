"""Which stretch of each topic an audit reads: taken once, in an order that loses no cause.

A message is in its channel's topic in the same transaction as in the ledger; its request was there
before, and an answer never comes before what it answers. So the ends are taken backwards along the
way of a request. Invariant: whatever stands in a stretch, its cause stands in one as well; and of a
batch below `settled` all messages do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from saec.kafka import stretches
from saec.kafka import topics as kafka_topics
from saec.kafka.stretches import Stretch
from saec.settings import Settings

# How far the clocks of processes may differ, and how long a message may be on its way.
MARGIN_MS = 120_000

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Extent:
    """One partition: what is kept begins at `kept`; `first` up to, and without, `last` is read.

    `settled` is where it ended before the other topics' ends were taken: for saec.requests, what is
    below it was answered; for the ledger, what is below it was dispatched to the end.
    """

    topic: str
    partition: int
    kept: int
    first: int
    last: int
    settled: int


def take(settings: Settings, since_ms: int | None) -> list[Extent]:
    """The stretches to read; what was dispatched, only from `since_ms` on.

    Raises:
        BrokerUnavailableError: no answer.
        ConfigurationError: a topic is missing.
    """
    topics = settings.topics
    kafka_topics.existing(
        settings, [topics.requests, topics.status, topics.ledger, *topics.dispatch.values()]
    )
    answered = stretches.committed_offsets(settings, "requests", topics.requests)
    settled = _ends(stretches.bounds(settings, topics.ledger, committed=True))
    channels = {name: stretches.settled(settings, name) for name in topics.dispatch.values()}
    ledger = stretches.settled(settings, topics.ledger)
    status = stretches.settled(settings, topics.status)
    requests = stretches.settled(settings, topics.requests)
    found = [
        *_extents(topics.requests, requests, requests, answered),
        *_extents(topics.status, status, status, _ends(status)),
        *_extents(topics.ledger, ledger, _from(settings, topics.ledger, ledger, since_ms), settled),
    ]
    for name, kept in channels.items():
        found += _extents(name, kept, _from(settings, name, kept, since_ms), _ends(kept))
    return found


def are_there(settings: Settings, wanted: Sequence[Extent], reached: Mapping[Place, int]) -> bool:
    """Whether what is not read yet of these is still kept.

    Raises:
        BrokerUnavailableError: no answer.
    """
    unread = [one for one in wanted if reached[one.topic, one.partition] < one.last]
    kept = {topic: stretches.bounds(settings, topic) for topic in {one.topic for one in unread}}
    return all(
        kept[one.topic][one.partition].start <= reached[one.topic, one.partition]
        and one.last <= kept[one.topic][one.partition].end
        for one in unread
    )


def _extents(
    topic: str,
    kept: Mapping[int, Stretch],
    wanted: Mapping[int, Stretch],
    settled: Mapping[int, int],
) -> list[Extent]:
    return [
        Extent(topic, p, kept[p].start, stretch.start, kept[p].end, settled.get(p, 0))
        for p, stretch in wanted.items()
    ]


def _from(
    settings: Settings, topic: str, kept: Mapping[int, Stretch], since_ms: int | None
) -> Mapping[int, Stretch]:
    if since_ms is None:
        return kept
    later = stretches.from_instant(settings, topic, max(since_ms - MARGIN_MS, 0), kept)
    return {p: Stretch(min(later[p].start, whole.end), whole.end) for p, whole in kept.items()}


def _ends(bounds: Mapping[int, Stretch]) -> dict[int, int]:
    return {partition: stretch.end for partition, stretch in bounds.items()}
