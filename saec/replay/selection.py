"""What is to be replayed: a stretch of one topic, and which of its records.

Invariant: pure, and the same for ever: nothing here depends on when it is asked.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum

from saec.contracts.rejected import RejectedError
from saec.contracts.subject import Subject, subject_of
from saec.errors import Reason
from saec.kafka.records import Incoming


@dataclass(frozen=True, slots=True)
class Offsets:
    """The offsets of one partition from `first` to `last`, both included; None: to the end."""

    partition: int
    first: int
    last: int | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Records of `topic` for which all that is given holds.

    `since_ms` and `until_ms` (without that instant itself) are epoch milliseconds, and what is
    looked at is the record's timestamp. `campaign`, `customer` and `request` are ids.
    """

    topic: str
    since_ms: int | None = None
    until_ms: int | None = None
    offsets: Sequence[Offsets] = field(default=())
    campaign: str | None = None
    customer: str | None = None
    request: str | None = None

    @property
    def by_content(self) -> bool:
        """Whether values have to be read."""
        return (self.campaign, self.customer, self.request) != (None, None, None)

    def digest(self, *ids: str | None) -> str:
        """The same for the same selection between the topics of these ids, else another one."""
        offsets = sorted(self.offsets, key=lambda one: one.partition)
        told = asdict(self) | {"offsets": [asdict(one) for one in offsets], "ids": ids}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


class Choice(Enum):
    """What a selection makes of a record. UNREADABLE: its content does not say; left out."""

    CHOSEN = "chosen"
    OTHER = "other"
    UNREADABLE = "unreadable"


def choose(selection: Selection, record: Incoming) -> Choice:
    """Whether a record of the stretch is to be copied."""
    if record.refused is Reason.UNREADABLE_RECORD:
        return Choice.UNREADABLE  # there is nothing to copy
    if not _in_time(selection, record.appended_at_ms):
        return Choice.OTHER
    if not selection.by_content:
        return Choice.CHOSEN
    try:
        subject, unreadable = _subject(record), Choice.OTHER
    except RejectedError:
        subject, unreadable = _by_key(record), Choice.UNREADABLE
    return Choice.CHOSEN if _fits(selection, subject) else unreadable


def _in_time(selection: Selection, at_ms: int) -> bool:
    since_ms, until_ms = selection.since_ms, selection.until_ms
    return (since_ms is None or since_ms <= at_ms) and (until_ms is None or at_ms < until_ms)


def _subject(record: Incoming) -> Subject:
    """Raises RejectedError: the value is no event."""
    if record.value is None:  # as of a customer who was erased
        return _by_key(record)
    return subject_of(record.value, record.headers)


def _by_key(record: Incoming) -> Subject:
    """Where the value tells nothing, its key may: SAEC's keys are ids of requests or customers."""
    try:
        named = frozenset({(record.key or b"").decode()})
    except UnicodeDecodeError:
        return Subject()
    return Subject(requests=named, customers=named)


def _fits(selection: Selection, subject: Subject) -> bool:
    wanted, of_customer = selection.request, selection.customer
    return (
        (wanted is None or wanted in subject.requests)
        and (of_customer is None or of_customer in subject.customers)
        and selection.campaign in {None, subject.campaign}
    )
