"""Finds the statuses of a request.

Invariant: an answer counts for the record that its `ce_id` names, by topic, partition and offset.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from uuid import UUID

from saec.contracts.rejected import RejectedError
from saec.contracts.status import RequestStatus, Status, answered, decode_status, late_id
from saec.history.batches import Batch, stretch, windows
from saec.history.events import Answered, Place
from saec.history.margins import CLOCKS_MS, CLOSE_MS, MOST_RECORDS
from saec.kafka.records import Incoming
from saec.kafka.seek import Partition, Reach, Seeker

# The record that an answer is about. Of a slice: `request/slice/status`.
_SOURCE = re.compile("(.+)/([0-9]{1,9})/([0-9]{1,18})")


@dataclass
class Answers:
    """The statuses that were found, each place once; `cut`: older ones may have been deleted."""

    request_id: UUID
    topic: str
    found: dict[Place, Answered] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    cut: set[str] = field(default_factory=set)
    given_up: set[str] = field(default_factory=set)

    @property
    def abouts(self) -> set[Place]:
        """The records that were answered."""
        return {answer.about for answer in self.found.values() if answer.about is not None}

    def add(self, record: Incoming) -> None:
        """Take in a record, if it is a status of the request."""
        if record.key != str(self.request_id).encode():
            return
        try:
            status = decode_status(record.value or b"")
        except RejectedError:
            return
        if status.request_id == str(self.request_id):
            event_id = _event_id(record)
            self.named.add(event_id)
            place = Place(record.topic, record.partition, record.offset)
            self.found[place] = _answered(record, place, status, event_id)


@dataclass(frozen=True, slots=True)
class Hunt:
    """Looks for one answer after the other."""

    seeker: Seeker
    answers: Answers

    def of_record(self, source: Place, at_ms: int, *, late: bool = False) -> None:
        """Find the answer to a record that was appended at `at_ms`: it comes any time later.

        With `late` the second answer, to a cancel that was read before its request.
        """
        wanted, topic = late_id(*source) if late else str(source), self.answers.topic
        places = {self.seeker.partition_of(topic, str(self.answers.request_id))}
        if wanted not in self.answers.named:
            self._until(wanted, self.seeker.between(places, at_ms - CLOSE_MS))
        if wanted not in self.answers.named:  # or a clock is behind, or there are more partitions
            everywhere = self.seeker.partitions(topic)
            self._until(wanted, self.seeker.between(everywhere, at_ms - CLOCKS_MS))

    def of_batches(self, batches: Sequence[Batch]) -> None:
        """Find what was answered in batches: skips, expiry, and SENT if that was switched on."""
        topic = self.answers.topic
        likely = [self.seeker.partition_of(topic, str(self.answers.request_id))]
        everywhere = self.seeker.partitions(topic)
        self._around(likely, batches, CLOSE_MS)
        short = [batch for batch in batches if self.missing(batch)]
        self._around(everywhere, short, CLOCKS_MS)

    def since(self, at_ms: int) -> None:
        """Find everything from an instant on, however long that takes."""
        topic = self.answers.topic
        likely = [self.seeker.partition_of(topic, str(self.answers.request_id))]
        for places in (likely, self.seeker.partitions(topic)):
            for record in self.seeker.read(self.seeker.between(places, at_ms)):
                self.answers.add(record)
            if self.answers.found:
                return

    def missing(self, batch: Batch) -> list[int]:
        """The slices of a batch whose skips were not answered."""
        return [n for n in sorted(skipping(batch)) if not self._is_found(n)]

    def _is_found(self, slice_no: int) -> bool:
        kinds = (Status.SKIPPED, Status.EXPIRED)
        ids = {f"{self.answers.request_id}/{slice_no}/{kind}" for kind in kinds}
        return not ids.isdisjoint(self.answers.named)

    def _around(
        self, places: Iterable[Partition], batches: Iterable[Batch], margin_ms: int
    ) -> None:
        for window in windows(batches, margin_ms):
            reaches = self.seeker.between(places, *stretch(window, margin_ms))
            for record in self.seeker.read(reaches):
                self.answers.add(record)
            if any(reach.cut for reach in reaches.values()):
                self.answers.cut.update(str(batch.place) for batch in window)

    def _until(self, wanted: str, reaches: dict[Partition, Reach]) -> None:
        read = 0
        for record in islice(self.seeker.read(reaches), MOST_RECORDS):
            read += 1
            self.answers.add(record)
            if wanted in self.answers.named:
                return
        if any(reach.cut for reach in reaches.values()):
            self.answers.cut.add(wanted)
        if read >= MOST_RECORDS:
            self.answers.given_up.add(wanted)


def skipping(batch: Batch) -> set[int]:
    """The slices of a batch of which something was skipped."""
    return {skip.slice_no for skip in batch.skips}


def _answered(record: Incoming, place: Place, status: RequestStatus, event_id: str) -> Answered:
    return Answered(
        record.appended_at_ms,
        place,
        status.status,
        _place(event_id),
        None if status.reason is None else status.reason.value,
        status.detail,
        dict(status.counts),
    )


def _event_id(record: Incoming) -> str:
    """The last header of this name: `topic/partition/offset`, or `request/slice/status`."""
    found = [value for name, value in record.headers or () if name == "ce_id" and value]
    return found[-1].decode(errors="replace") if found else ""


def _place(event_id: str) -> Place | None:
    found = _SOURCE.fullmatch(answered(event_id)[0])
    return None if found is None else Place(found[1], int(found[2]), int(found[3]))
