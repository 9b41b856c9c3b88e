"""The answers that were given, as saec.status keeps them: facts that a recovery has to keep true.

Invariant: an answer counts for exactly the record it names, by topic, partition and offset.
"""

from collections.abc import Mapping

from saec.contracts.rejected import RejectedError
from saec.contracts.status import Status, decode_status
from saec.kafka.records import Incoming
from saec.kafka.stretches import Stretch
from saec.store.cancels import Stopped

_STATUSES = list(Status)


class Given:
    """What each record of some stretches of saec.requests was answered; a byte a record."""

    def __init__(self, topic: str, wanted: Mapping[int, Stretch]) -> None:
        self._topic = topic
        self._wanted = wanted
        # 0: not known; n: the n-th status.
        self._codes = {p: bytearray(len(stretch)) for p, stretch in wanted.items()}
        self._stopped: dict[tuple[int, int], Stopped] = {}

    def add(self, said: Incoming) -> None:
        """Take in a record of saec.status."""
        place = source_of(self._topic, said)
        if place is None or not self._is_wanted(place):
            return
        try:
            answer = decode_status(said.value or b"")
        except RejectedError:
            return
        partition, offset = place
        self._codes[partition][offset - self._wanted[partition].start] = 1 + _STATUSES.index(
            answer.status
        )
        if answer.status is Status.CANCELLED:
            counts = answer.counts
            self._stopped[place] = Stopped(counts["recipients_stopped"], counts["messages_stopped"])

    def status(self, source: Incoming) -> Status | None:
        """What a record was answered; None when that is not known any more."""
        place = source.partition, source.offset
        if not self._is_wanted(place):
            return None
        code = self._codes[source.partition][source.offset - self._wanted[source.partition].start]
        return _STATUSES[code - 1] if code else None

    def stopped(self, source: Incoming) -> Stopped:
        """What the answer to a cancel says that it stopped."""
        return self._stopped.get((source.partition, source.offset), Stopped())

    def _is_wanted(self, place: tuple[int, int]) -> bool:
        stretch = self._wanted.get(place[0])
        return stretch is not None and stretch.start <= place[1] < stretch.end


def source_of(topic: str, said: Incoming) -> tuple[int, int] | None:
    """Partition and offset of the record of `topic` that a status answers; None: of another."""
    for name, value in said.headers or ():
        if name == "ce_id" and value is not None:
            named, _, place = value.decode("utf-8", "replace").partition("/")
            partition, _, offset = place.partition("/")
            if named == topic and partition.isdecimal() and offset.isdecimal():
                return int(partition), int(offset)
            return None
    return None
