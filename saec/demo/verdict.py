"""Expected against dispatched.

Pure. Invariant: whatever differs from what was expected is counted somewhere, and any count that
is not zero makes the verdict a failure.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from saec.contracts.dispatch import DispatchMessage
from saec.contracts.events import Channel
from saec.contracts.status import RequestStatus, Status
from saec.demo.expected import AnswerKey, Expected, MessageKey, SkipKey
from saec.errors import Reason

_WITH_SKIPS = {Status.SKIPPED, Status.EXPIRED}
_Key = TypeVar("_Key", AnswerKey, SkipKey)


@dataclass(frozen=True, slots=True)
class Seen:
    """A message as it was read from the topic of `channel`.

    `produced_at_ms` is when its record was made, by the producer's clock.
    """

    channel: Channel
    message: DispatchMessage
    produced_at_ms: int


@dataclass(frozen=True, slots=True)
class ChannelVerdict:
    """One channel. Only the first two may be other than zero, and must be equal."""

    channel: Channel
    expected: int
    dispatched: int
    missing: int
    duplicate: int
    early: int
    extra: int
    altered: int

    @property
    def ok(self) -> bool:
        """True when each message is there once, not early, and as it was given."""
        faults = (self.missing, self.duplicate, self.early, self.extra, self.altered)
        return self.expected == self.dispatched and not any(faults)


@dataclass(frozen=True, slots=True)
class AnswerVerdict:
    """How often one kind of answer was expected and found, over all requests."""

    answer: str
    expected: int
    found: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """On the whole run. `differences` names each answer and skip that is not as expected."""

    channels: tuple[ChannelVerdict, ...]
    answers: tuple[AnswerVerdict, ...]
    differences: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True when everything is as expected."""
        return not self.differences and all(channel.ok for channel in self.channels)


def judge(
    expected: Expected,
    seen: Iterable[Seen],
    statuses: Iterable[RequestStatus],
    unreadable: int = 0,
) -> Verdict:
    """Hold what was read from the topics against what was expected.

    `unreadable` is how many records were there that are no message and no answer.
    """
    found = list(seen)
    channels = tuple(
        _channel(expected, channel, [one for one in found if one.channel is channel])
        for channel in Channel
    )
    told = list(statuses)
    answers, skips = answers_of(told), skips_of(told)
    return Verdict(
        channels,
        (
            *_summary("", expected.answers, answers),
            *_summary("message SKIPPED: ", expected.skips, skips),
        ),
        (
            *_differences("answers", expected.answers, answers),
            *_differences("skips", expected.skips, skips),
            *([f"records that cannot be read: {unreadable}"] if unreadable else []),
        ),
    )


def answers_of(statuses: Iterable[RequestStatus]) -> Counter[AnswerKey]:
    """How often each answer was given."""
    return Counter(
        (status.request_id or status.customer_id or "?", status.status, status.reason)
        for status in statuses
        if status.status not in _WITH_SKIPS
    )


def skips_of(statuses: Iterable[RequestStatus]) -> Counter[SkipKey]:
    """How many messages were skipped, as the statuses of their slices count them."""
    skips: Counter[SkipKey] = Counter()
    for status in statuses:
        if status.status not in _WITH_SKIPS:
            continue
        for name, count in status.counts.items():
            channel, dot, reason = name.partition(".")
            if dot:
                skips[str(status.request_id), Channel(channel), Reason(reason)] += count
    return skips


def key_of(message: DispatchMessage) -> MessageKey:
    """What a message is one of."""
    return str(message.request_id), message.channel, message.customer_id


def _channel(expected: Expected, channel: Channel, seen: list[Seen]) -> ChannelVerdict:
    counts = Counter(key_of(one.message) for one in seen)
    wanted = {key for key in expected.messages if key[1] is channel}
    return ChannelVerdict(
        channel=channel,
        expected=len(wanted),
        dispatched=len(seen),
        missing=len(wanted - counts.keys()),
        duplicate=sum(count - 1 for count in counts.values()),
        early=sum(_is_early(expected, one) for one in seen),
        extra=len(counts.keys() - wanted),
        altered=sum(_is_altered(expected, one) for one in seen),
    )


def _is_early(expected: Expected, one: Seen) -> bool:
    promise = expected.messages.get(key_of(one.message))
    return promise is not None and (
        min(one.message.dispatched_at_ms, one.produced_at_ms) < promise.due_at_ms
    )


def _is_altered(expected: Expected, one: Seen) -> bool:
    promise = expected.messages.get(key_of(one.message))
    if promise is None:
        return False
    given = (promise.address, promise.message, promise.due_at_ms)
    return (one.message.address, one.message.message, one.message.due_at_ms) != given


def _summary(label: str, expected: Counter[_Key], found: Counter[_Key]) -> Iterable[AnswerVerdict]:
    """Without the ids of requests and customers."""
    wanted, got = _by_kind(expected), _by_kind(found)
    for kind in sorted(wanted.keys() | got.keys()):
        yield AnswerVerdict(label + kind, wanted[kind], got[kind])


def _by_kind(counts: Counter[_Key]) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for (_, *kind), count in counts.items():
        kinds[" ".join(str(part) for part in kind if part is not None)] += count
    return kinds


def _differences(what: str, expected: Counter[_Key], found: Counter[_Key]) -> Iterable[str]:
    for key in sorted(expected.keys() | found.keys(), key=str):
        if expected[key] != found[key]:
            name = " ".join(str(part) for part in key if part is not None)
            yield f"{what}: {name}: expected {expected[key]}, found {found[key]}"
