"""Takes a batch of the customers topic into the registry.

Invariant: an address in the registry is valid and in one form; an invalid one is kept out, with a
status, while what stood there and the customer's other channels go on working. What the registry
then has of each customer goes to saec.registry with the answers.
"""

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from saec.contracts.decode import decode_customer
from saec.contracts.events import CustomerErased, channels_to_bits
from saec.contracts.rejected import RejectedError
from saec.errors import Reason
from saec.ingest import addresses, answers, registry
from saec.ingest.addresses import AddressError
from saec.ingest.positions import StoredPositions
from saec.ingest.unfit import refuse_lost, refuse_unstamped
from saec.kafka.records import Incoming, Outgoing
from saec.settings import Settings
from saec.store.customers import Mention, Registered, register
from saec.store.engine import Engine
from saec.store.positions import save_positions


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A batch as what it says of customers, and what is to be said about it."""

    mentions: list[Mention] = field(default_factory=list)
    sources: dict[tuple[int, int], Incoming] = field(default_factory=dict)
    said: list[Outgoing] = field(default_factory=list)


class CustomerIntake:
    """Ingest of the customers topic."""

    def __init__(
        self, settings: Settings, engine: Engine, positions: StoredPositions | None = None
    ) -> None:
        self._settings = settings
        self._topics = settings.topics
        self._positions = positions or StoredPositions(engine, settings.topics.customers)

    def take(self, batch: Sequence[Incoming], next_offsets: Mapping[int, int]) -> list[Outgoing]:
        """Decode and store a batch: see `decode` and `store`."""
        return self.store(self.decode(batch), next_offsets)

    def decode(self, batch: Sequence[Incoming]) -> _Decoded:
        """What each record says. Pure; may run in another thread."""
        decoded = _Decoded()
        for source in batch:
            try:
                said = self._mention(source, decoded.said)
            except RejectedError as error:
                decoded.said.extend(self._refusal(source, error))
                continue
            decoded.mentions.append(said)
            decoded.sources[source.partition, source.offset] = source
        return decoded

    def store(self, decoded: _Decoded, next_offsets: Mapping[int, int]) -> list[Outgoing]:
        """Store a batch; returns what was refused of it, and the customers as they are now.

        Raises:
            StoreUnavailableError, StoreConflictError: unknown whether it was stored; take it again.
            StoreChangedError: the database is not the one that the batch began with.
        """
        with self._positions.transaction(next_offsets) as connection:
            done = register(connection, decoded.mentions)
            self._positions.moved(save_positions(connection, self._topics.customers, next_offsets))
        return [
            *decoded.said,
            *self._not_done(decoded, done),
            *registry.records(self._topics, done.rows.values()),
        ]

    def _mention(self, source: Incoming, said: list[Outgoing]) -> Mention:
        """What a record says, less the addresses that are kept out. Raises RejectedError."""
        refuse_lost(source)
        event = decode_customer(
            source.key, source.value, source.headers, self._settings.max_request_bytes
        )
        refuse_unstamped(source, customer_id=event.id)
        place = (source.appended_at_ms, source.partition, source.offset)
        if isinstance(event, CustomerErased):
            return Mention(event.id, None, None, None, True, *place)

        def valid(text: str | None, check: Callable[[str], str], reason: Reason) -> str | None:
            try:
                return check(text) if text else text
            except AddressError as error:
                detail = f"{reason.removeprefix('invalid_')}: kept out: {error}"
                said.append(self._status(source, event.id, reason, detail))
                return None

        return Mention(
            event.id,
            valid(event.email, addresses.email, Reason.INVALID_EMAIL),
            valid(event.phone, addresses.phone, Reason.INVALID_PHONE),
            None if event.opted_out is None else channels_to_bits(event.opted_out),
            False,
            *place,
        )

    def confirm(self, next_offsets: Mapping[int, int]) -> None:
        """See that what was stored up to these offsets still stands: see `StoredPositions`."""
        self._positions.confirm(next_offsets)

    def _refusal(self, source: Incoming, error: RejectedError) -> Iterable[Outgoing]:
        verdict = answers.verdict_of(error)
        yield self._status(source, error.customer_id, error.reason, error.detail)
        # Without the bytes: they are somebody's addresses.
        yield answers.rejected_copy(self._settings, source, verdict, keep=False)

    def _not_done(self, decoded: _Decoded, done: Registered) -> Iterable[Outgoing]:
        """The answers to records that changed nothing."""
        for said in done.strangers:
            source = decoded.sources[said.source_partition, said.source_offset]
            detail = _of_stranger(said.customer_id)
            yield self._status(source, said.customer_id, Reason.UNKNOWN_CUSTOMER, detail)
        for said in done.superseded:
            source = decoded.sources[said.source_partition, said.source_offset]
            yield self._status(source, said.customer_id, Reason.SUPERSEDED, _SUPERSEDED)

    def _status(
        self, source: Incoming, customer_id: str | None, reason: Reason, detail: str
    ) -> Outgoing:
        return answers.customer_status(self._topics, source, customer_id, reason, detail)


_SUPERSEDED = (
    "a newer record of this customer came by another partition; give all producers one partitioner"
)


def _of_stranger(customer_id: str) -> str:
    """What is said of an erasure of nobody."""
    if unicodedata.is_normalized("NFC", customer_id):
        return "nobody was registered with the record's key; nothing was erased"
    return (
        "nobody was registered with the record's key, whose accents are characters of their own; "
        "write it in Unicode's normal form C"
    )
