"""Takes a batch of the customers topic into the registry.

Invariant: an address in the registry is valid and in one form; an invalid one is kept out, with a
status, while the customer's other channels go on working.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from saec.contracts.decode import decode_customer
from saec.contracts.events import CustomerErased, CustomerRegistered, channels_to_bits
from saec.contracts.rejected import RejectedError
from saec.errors import Reason
from saec.ingest import addresses, answers
from saec.ingest.positions import StoredPositions
from saec.ingest.unfit import refuse_lost, refuse_unstamped
from saec.kafka.records import Incoming, Outgoing
from saec.settings import Settings
from saec.store.customers import CustomerRow, upsert_customers
from saec.store.engine import Engine
from saec.store.positions import save_positions


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A batch as rows, and what is to be said about it."""

    rows: list[CustomerRow] = field(default_factory=list)
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
                event = _event(source, self._settings)
            except RejectedError as error:
                decoded.said.extend(self._refusal(source, error))
                continue
            row = _row(source, event)
            decoded.rows.append(row)
            decoded.said.extend(self._kept_out(source, event, row))
        return decoded

    def store(self, decoded: _Decoded, next_offsets: Mapping[int, int]) -> list[Outgoing]:
        """Store a batch; returns what was refused of it.

        Raises:
            StoreUnavailableError, StoreConflictError: unknown whether it was stored; take it again.
            StoreChangedError: the database is not the one that the batch began with.
        """
        with self._positions.transaction(next_offsets) as connection:
            upsert_customers(connection, decoded.rows)
            self._positions.moved(save_positions(connection, self._topics.customers, next_offsets))
        return decoded.said

    def confirm(self, next_offsets: Mapping[int, int]) -> None:
        """See that what was stored up to these offsets still stands: see `StoredPositions`."""
        self._positions.confirm(next_offsets)

    def _refusal(self, source: Incoming, error: RejectedError) -> Iterable[Outgoing]:
        verdict = answers.verdict_of(error)
        yield answers.customer_status(
            self._topics, source, error.customer_id, error.reason, error.detail
        )
        # Without the bytes: they are somebody's addresses.
        yield answers.rejected_copy(self._settings, source, verdict, keep=False)

    def _kept_out(
        self, source: Incoming, event: CustomerRegistered | CustomerErased, row: CustomerRow
    ) -> Iterable[Outgoing]:
        if isinstance(event, CustomerErased):
            return
        if event.email is not None and row.email is None:
            yield answers.customer_status(
                self._topics, source, event.id, Reason.INVALID_EMAIL, "email: kept out"
            )
        if event.phone is not None and row.phone is None:
            yield answers.customer_status(
                self._topics, source, event.id, Reason.INVALID_PHONE, "phone: kept out"
            )


def row_of(source: Incoming, settings: Settings) -> CustomerRow:
    """What the registry keeps of a record. Raises RejectedError."""
    return _row(source, _event(source, settings))


def _event(source: Incoming, settings: Settings) -> CustomerRegistered | CustomerErased:
    refuse_lost(source)
    event = decode_customer(source.key, source.value, source.headers, settings.max_request_bytes)
    refuse_unstamped(source, customer_id=event.id)
    return event


def _row(source: Incoming, event: CustomerRegistered | CustomerErased) -> CustomerRow:
    email, phone, opted_out = None, None, 0
    if isinstance(event, CustomerRegistered):
        email = None if event.email is None else addresses.email(event.email)
        phone = None if event.phone is None else addresses.phone(event.phone)
        opted_out = channels_to_bits(event.opted_out)
    return CustomerRow(
        customer_id=event.id,
        email=email,
        phone=phone,
        opted_out=opted_out,
        erased=isinstance(event, CustomerErased),
        appended_at_ms=source.appended_at_ms,
        source_partition=source.partition,
        source_offset=source.offset,
    )
