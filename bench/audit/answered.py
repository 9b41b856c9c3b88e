"""What ingest does for a history: requests into the topic, and the answers to them.

Invariant: every verdict is made by SAEC's own code (`saec.ingest`) from what was published and the
places that the broker gave it; what that code looks up in PostgreSQL is held here instead.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from uuid import UUID

from saec.contracts.decode import decode_request
from saec.contracts.events import CancelRequested, ScheduleRequested
from saec.contracts.rejected import RejectedError
from saec.contracts.status import Status
from saec.ingest import answers, decide
from saec.ingest.cancels import Cancelling, Decision, cancel_answers
from saec.ingest.decide import Limits, Verdict
from saec.ingest.slices import cut
from saec.kafka import clients
from saec.kafka.records import Incoming, Outgoing
from saec.kafka.transaction import TransactionalProducer
from saec.settings import Settings
from saec.store.cancels import CancelRow, Stopped
from saec.store.requests import SliceRow, StoredRequest

_APPENDED = 2  # confluent_kafka.TIMESTAMP_LOG_APPEND_TIME
_FLUSH_S = 60.0


@dataclass(slots=True)
class Held:
    """An accepted request: what is stored of it, what is pending, and what a cancel decided."""

    stored: StoredRequest
    pending: list[SliceRow]
    decided: CancelRow | None = None


class Ingest:
    """The one that answers. `held` are the requests that may still be spoken of."""

    def __init__(self, settings: Settings, tally: Counter[str]) -> None:
        self.held: dict[UUID, Held] = {}
        self._settings = settings
        self._tally = tally
        self._limits = Limits.of(settings.grace_s, settings.horizon_days)
        self._requests = clients.producer(settings, **{"linger.ms": 20})
        self._answers = TransactionalProducer(settings, "requests")

    def take(self, asked: Iterable[tuple[UUID, bytes]]) -> None:
        """Publish these requests and cancels, and answer them, a transaction a batch."""
        sources = self._published(list(asked))
        step = self._settings.ingest_batch_records
        for first in range(0, len(sources), step):
            self._answers.begin()
            for source in sources[first : first + step]:
                for one in self._answered(source):
                    self._answers.produce(one.topic, one.value, one.key, one.headers)
            self._answers.commit()

    def close(self) -> None:
        """Done."""
        self._answers.discard()
        self._requests.close()

    def _published(self, asked: Sequence[tuple[UUID, bytes]]) -> list[Incoming]:
        placed: dict[int, Incoming] = {}
        topic = self._settings.topics.requests

        def hears(index: int, key: bytes, value: bytes) -> Any:
            def told(error: Any, message: Any) -> None:
                kind, at_ms = (0, 0) if error else message.timestamp()
                if kind == _APPENDED and message.offset() >= 0:
                    place = message.partition(), message.offset()
                    placed[index] = Incoming(topic, *place, at_ms, key, value, None)

            return told

        for index, (id_, value) in enumerate(asked):
            key = str(id_).encode()
            self._requests.produce(topic, value, key, on_delivery=hears(index, key, value))
            self._requests.poll(0)
        self._requests.flush(_FLUSH_S)
        if len(placed) != len(asked):
            raise RuntimeError(f"of {len(asked)} requests {len(placed)} have a place in {topic}")
        self._tally["records of requests"] += len(asked)
        return [placed[index] for index in range(len(asked))]

    def _answered(self, source: Incoming) -> list[Outgoing]:
        try:
            event = decode_request(source.value, source.headers, self._settings.max_request_bytes)
        except RejectedError as error:
            return self._said(source, error.request_id, answers.verdict_of(error))
        if isinstance(event, CancelRequested):
            return self._cancelled(source, event)
        return self._scheduled(source, event)

    def _scheduled(self, source: Incoming, event: ScheduleRequested) -> list[Outgoing]:
        slices = cut(
            event,
            shards=self._settings.shards,
            most_recipients=self._settings.slice_recipients,
            traceparent=None,
        )
        counts = {
            "recipients": sum(row.recipients for row in slices),
            "messages": sum(row.messages for row in slices),
        }
        refused = decide.refusal(event, source.appended_at_ms, self._limits)
        content = blake2b(source.value or b"", digest_size=16).digest()
        held = self.held.get(event.id)
        if held is None and refused is None:
            place = source.partition, source.offset
            stored = StoredRequest(
                event.id, event.requester, counts["messages"], counts["recipients"], content, *place
            )
            held = self.held[event.id] = Held(stored, slices)
            self._tally["messages accepted"] += counts["messages"]
        stands = None if held is None else held.stored
        verdict = decide.schedule(source, content, refused, stands)
        return self._said(source, event.id, verdict, counts)

    def _said(
        self,
        source: Incoming,
        request_id: UUID | None,
        verdict: Verdict,
        counts: dict[str, int] | None = None,
    ) -> list[Outgoing]:
        """As ingest says it."""
        accepted = verdict.status in {Status.ACCEPTED, Status.DUPLICATE}
        given = counts if accepted and counts else {}
        self._count(verdict)
        said = [answers.request_status(self._settings.topics, source, request_id, verdict, given)]
        if not accepted:
            said.append(answers.rejected_copy(self._settings, source, verdict, keep=True))
        return said

    def _cancelled(self, source: Incoming, event: CancelRequested) -> list[Outgoing]:
        held = self.held.get(event.id)
        stored, decided = (held.stored, held.decided) if held else (None, None)
        took = Stopped()
        if held and decide.decides(source, event, stored, decided):
            took = self._stopped(held)
        row = decide.cancel(source, event, stored, decided, took)
        if held and row.decides:
            held.decided = decided = row
        self._count(Verdict(Status(row.status)))
        return list(
            cancel_answers(
                self._settings, [Decision(Cancelling(source, event), row, stored, decided)]
            )
        )

    def _stopped(self, held: Held) -> Stopped:
        """Stop what is still pending."""
        took = Stopped(
            sum(row.recipients for row in held.pending), sum(row.messages for row in held.pending)
        )
        held.pending.clear()
        self._tally["messages stopped"] += took.messages
        return took

    def _count(self, verdict: Verdict) -> None:
        self._tally[f"answers {verdict.status}"] += 1
        self._tally["records of status"] += 1
