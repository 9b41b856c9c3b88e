"""The records of saec.registry: each customer as the registry has it, and where it came from.

Invariant: the newest record of a customer is the whole of what is known, so that compaction loses
nothing; an erased customer's has no value. What saec.customers once said need not be kept for it.
"""

from collections.abc import Iterable

from saec.contracts import avro, headers
from saec.contracts.decode import decode_customer
from saec.contracts.events import CustomerErased, bits_to_channels, channels_to_bits
from saec.contracts.rejected import RejectedError
from saec.errors import Reason
from saec.kafka.records import Incoming, Outgoing
from saec.settings import Topics
from saec.store.customers import CustomerRow, Mention

_TYPE = "saec.v1.CustomerRegistered"
_PARTITION, _OFFSET, _APPENDED = "saec-source-partition", "saec-source-offset", "saec-appended-at"
_MOST_BYTES = 100_000


def records(topics: Topics, rows: Iterable[CustomerRow]) -> Iterable[Outgoing]:
    """The records of these customers. Who was never registered has none."""
    known = [row for row in rows if row.registered_offset is not None]
    known.sort(key=lambda row: row.customer_id)  # the same, when the same batch comes again
    return [_record(topics, row) for row in known]


def _record(topics: Topics, row: CustomerRow) -> Outgoing:
    event_id = f"{topics.customers}/{row.source_partition}/{row.source_offset}"
    return Outgoing(
        topics.registry,
        None if row.erased else _value(row),
        row.customer_id.encode(),
        [
            *headers.cloud_event(_TYPE, "/saec/customers", event_id),
            (_PARTITION, str(row.source_partition).encode()),
            (_OFFSET, str(row.source_offset).encode()),
            (_APPENDED, str(row.appended_at_ms).encode()),
        ],
    )


def _value(row: CustomerRow) -> bytes:
    return avro.encode_single(
        "customer_registered",
        {
            "id": row.customer_id,
            "email": row.email,
            "phone": row.phone,
            "opted_out": [channel.value for channel in bits_to_channels(row.opted_out)],
        },
    )


def mention(record: Incoming) -> Mention:
    """What a record of saec.registry says: everything. Raises RejectedError."""
    event = decode_customer(record.key, record.value, record.headers, _MOST_BYTES)
    source = _source(record)
    if isinstance(event, CustomerErased):
        return Mention(event.id, None, None, None, True, *source)
    return Mention(
        event.id,
        event.email or "",
        event.phone or "",
        channels_to_bits(event.opted_out or ()),
        False,
        *source,
    )


def _source(record: Incoming) -> tuple[int, int, int]:
    """Append time, partition and offset of the record of saec.customers that it comes from."""
    named = dict(record.headers or ())
    try:
        appended, partition, offset = (
            int(named[n] or b"") for n in (_APPENDED, _PARTITION, _OFFSET)
        )
    except (KeyError, ValueError):
        raise RejectedError(Reason.INVALID_EVENT, "not a record of SAEC's") from None
    return appended, partition, offset
