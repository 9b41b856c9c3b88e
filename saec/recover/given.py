"""The answers that were given, as saec.status keeps them: facts that a recovery has to keep true.

Invariant: an answer counts for exactly the record it names, by topic, partition, offset and append
time: a topic that was recreated uses its offsets again.
"""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from saec.contracts.rejected import RejectedError
from saec.contracts.status import RequestStatus, Status, answered, decode_status
from saec.kafka.records import Incoming
from saec.kafka.stretches import Stretch
from saec.store.cancels import Stopped

_STATUSES = list(Status)
_STATUS_BITS = 4


@dataclass(frozen=True, slots=True)
class Late:
    """The second answer to a cancel; such a one stops the whole request."""

    request_id: UUID
    appended_at_ms: int
    stopped: Stopped


class Given:
    """What each record of some stretches of saec.requests was answered; 8 bytes a record.

    `late` has the second answers by the places of their cancels, wherever these are: they were
    given with the answer to the request.
    """

    def __init__(self, topic: str, wanted: Mapping[int, Stretch]) -> None:
        self._topic = topic
        self._wanted = wanted
        # 0: not known; else the append time, and behind it n for the n-th status.
        self._codes = {p: array("q", bytes(8 * len(one))) for p, one in wanted.items()}
        self._stopped: dict[tuple[int, int], Stopped] = {}
        self.late: dict[tuple[int, int], Late] = {}

    def add(self, said: Incoming) -> None:
        """Take in a record of saec.status."""
        about = _about(said)
        place = _place(self._topic, about[0])
        if place is None or not (about[1] or self._is_wanted(place)):
            return
        try:
            answer = decode_status(said.value or b"")
        except RejectedError:
            return
        if about[1]:
            self._add_late(place, answer)
            return
        partition, offset = place
        codes, at = self._codes[partition], offset - self._wanted[partition].start
        code = _code(answer.at_ms, answer.status)
        if code < codes[at]:
            return  # of a record that stood there before the topic was recreated
        codes[at] = code
        if answer.status is Status.CANCELLED:
            self._stopped[place] = _stopped(answer)

    def _add_late(self, place: tuple[int, int], answer: RequestStatus) -> None:
        known = self.late.get(place)
        if known is not None and answer.at_ms < known.appended_at_ms:
            return
        if answer.request_id is not None:
            id_ = UUID(answer.request_id)
            self.late[place] = Late(id_, answer.at_ms, _stopped(answer))

    def status(self, source: Incoming) -> Status | None:
        """What a record was answered; None when that is not known any more."""
        if self.is_late(source):
            return Status.CANCELLED  # whatever it was answered first
        if not self._is_wanted((source.partition, source.offset)):
            return None
        code = self._codes[source.partition][source.offset - self._wanted[source.partition].start]
        at_ms, status = code >> _STATUS_BITS, code & ((1 << _STATUS_BITS) - 1)
        return _STATUSES[status - 1] if status and at_ms == source.appended_at_ms else None

    def stopped(self, source: Incoming) -> Stopped:
        """What the answer to a cancel says that it stopped."""
        place = source.partition, source.offset
        if self.is_late(source):
            return self.late[place].stopped
        return self._stopped.get(place, Stopped())

    def is_late(self, source: Incoming) -> bool:
        """Whether it is a cancel that was read before the request it stopped."""
        late = self.late.get((source.partition, source.offset))
        return late is not None and late.appended_at_ms == source.appended_at_ms

    def _is_wanted(self, place: tuple[int, int]) -> bool:
        stretch = self._wanted.get(place[0])
        return stretch is not None and stretch.start <= place[1] < stretch.end


def _code(at_ms: int, status: Status) -> int:
    return at_ms << _STATUS_BITS | (1 + _STATUSES.index(status))


def _stopped(answer: RequestStatus) -> Stopped:
    return Stopped(answer.counts["recipients_stopped"], answer.counts["messages_stopped"])


def source_of(topic: str, said: Incoming) -> tuple[int, int] | None:
    """Partition and offset of the record of `topic` that a status answers; None: of another."""
    about, late = _about(said)
    return None if late else _place(topic, about)


def _about(said: Incoming) -> tuple[str, bool]:
    """What a status is about, and whether it is the second answer to it."""
    for name, value in said.headers or ():
        if name == "ce_id" and value is not None:
            return answered(value.decode("utf-8", "replace"))
    return "", False


def _place(topic: str, about: str) -> tuple[int, int] | None:
    named, _, place = about.partition("/")
    partition, _, offset = place.partition("/")
    if named == topic and partition.isdecimal() and offset.isdecimal():
        return int(partition), int(offset)
    return None
