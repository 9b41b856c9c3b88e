"""The registry of customers, as their records left it.

Invariant: a record changes what it mentions and nothing else, once, and in whatever order the
partitions are read. Of one partition's records the later offset is the newer, whatever their append
times say: a broker's clock may step back. Records of different partitions are ordered by (append
time, partition, offset); an older one is not taken in any more, since what it says may have been
changed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import NamedTuple

from sqlalchemy import Connection

from saec.store.copying import copy_rows
from saec.store.engine import count, rows


@dataclass(frozen=True, slots=True)
class Mention:
    """What one record says of a customer; None: nothing of it. An empty address clears it."""

    customer_id: str
    email: str | None
    phone: str | None
    opted_out: int | None
    erases: bool
    appended_at_ms: int
    source_partition: int
    source_offset: int


@dataclass(frozen=True, slots=True)
class CustomerRow:
    """One row of `customers`, in column order.

    `registered_offset`: of the first registration, in `source_partition`; -1: in another one; None:
    the customer was never registered.
    """

    customer_id: str
    email: str | None
    phone: str | None
    opted_out: int
    erased: bool
    appended_at_ms: int
    source_partition: int
    source_offset: int
    registered_offset: int | None


@dataclass(slots=True)
class Registered:
    """What became of a batch.

    `rows`: every customer that it mentions, as it is now. `strangers`: erasures of customers that
    were never registered. `superseded`: older than what stood there, from another partition.
    """

    rows: dict[str, CustomerRow]
    strangers: list[Mention] = field(default_factory=list)
    superseded: list[Mention] = field(default_factory=list)


class Contact(NamedTuple):
    """What dispatch needs to know of a customer. `opted_out` is a set of channel bits."""

    email: str | None
    phone: str | None
    opted_out: int


_TYPES = {
    "customer_id": "text",
    "email": "text",
    "phone": "text",
    "opted_out": "smallint",
    "erased": "boolean",
    "appended_at_ms": "bigint",
    "source_partition": "integer",
    "source_offset": "bigint",
    "registered_offset": "bigint",
    "stands": "boolean",
}
_COLUMNS = [column.name for column in fields(CustomerRow)]
# In one order, so that two processes cannot deadlock.
_LOCK = f"""
    SELECT {", ".join(_COLUMNS)} FROM customers WHERE customer_id = ANY(%(ids)s)
    ORDER BY customer_id FOR NO KEY UPDATE
"""
_PAGE = f"""
    SELECT {", ".join(_COLUMNS)} FROM customers WHERE customer_id > %(behind)s
    ORDER BY customer_id LIMIT %(most)s
"""
# By COPY and not as parameters: PostgreSQL writes a statement that failed, or took long, into its
# log. Gone with the transaction: a pooler would keep it, in the shape of this release.
_STAGE = f"""
    CREATE TEMPORARY TABLE IF NOT EXISTS registering
    ({", ".join(f"{name} {type_}" for name, type_ in _TYPES.items())}) ON COMMIT DROP
"""
# These are locked, so they are there. By their key, also where the table was never analysed: a join
# may read all of it.
_UPDATE = f"""
    INSERT INTO customers ({", ".join(_COLUMNS)})
    SELECT {", ".join(_COLUMNS)} FROM registering WHERE stands ORDER BY customer_id
    ON CONFLICT (customer_id) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:])}
"""
_INSERT = f"""
    INSERT INTO customers ({", ".join(_COLUMNS)})
    SELECT {", ".join(_COLUMNS)} FROM registering WHERE NOT stands ORDER BY customer_id
"""

_CONTACTS = """
    SELECT customer_id, email, phone, opted_out
    FROM customers WHERE customer_id = ANY(%(ids)s) AND NOT erased
"""


def register(connection: Connection, mentions: Sequence[Mention]) -> Registered:
    """Bring the registry up to these records, in this order.

    A customer whom another process registers at the same time is a conflict of the transaction,
    as the keys of `customers` are unique: the records then come again.
    """
    ids = list({said.customer_id for said in mentions})
    before = {row[0]: CustomerRow(*row) for row in rows(connection, _LOCK, ids=ids)}
    done = Registered(dict(before))
    for said in mentions:
        _take(done, said)
    _write(connection, before, done.rows)
    return done


def _take(done: Registered, said: Mention) -> None:
    row = done.rows.get(said.customer_id)
    if said.erases and _was_nobody(row, said):
        done.strangers.append(said)
    if row is None or _is_newer(said, row):
        done.rows[said.customer_id] = _after(row, said)
    elif row.source_partition != said.source_partition:
        done.superseded.append(said)


def _is_newer(said: Mention, row: CustomerRow) -> bool:
    if said.source_partition == row.source_partition:
        return said.source_offset > row.source_offset
    return (said.appended_at_ms, said.source_partition, said.source_offset) > (
        row.appended_at_ms,
        row.source_partition,
        row.source_offset,
    )


def _was_nobody(row: CustomerRow | None, said: Mention) -> bool:
    """Whether no registration came before this erasure, which may have been taken before."""
    if row is None or row.registered_offset is None:
        return True
    again = row.source_partition == said.source_partition and not _is_newer(said, row)
    return again and row.registered_offset > said.source_offset


def _after(row: CustomerRow | None, said: Mention) -> CustomerRow:
    """The row once this newer record is taken in."""
    here = row is not None and row.source_partition == said.source_partition
    registered = None if row is None else row.registered_offset
    if registered is not None and not here:
        registered = -1
    if registered is None and not said.erases:
        registered = said.source_offset
    # An erased row has nothing to keep.
    return CustomerRow(
        said.customer_id,
        None if said.erases else _kept(said.email, None if row is None else row.email),
        None if said.erases else _kept(said.phone, None if row is None else row.phone),
        0 if said.erases else _opted_out(said, row),
        said.erases,
        # Of one partition a later record is never the older one to those of others.
        max(said.appended_at_ms, row.appended_at_ms if row is not None and here else 0),
        said.source_partition,
        said.source_offset,
        registered,
    )


def _kept(said: str | None, stood: str | None) -> str | None:
    return stood if said is None else said or None


def _opted_out(said: Mention, row: CustomerRow | None) -> int:
    if said.opted_out is not None:
        return said.opted_out
    return 0 if row is None else row.opted_out


def _write(
    connection: Connection, before: dict[str, CustomerRow], after: dict[str, CustomerRow]
) -> None:
    changed = [row for id_, row in after.items() if row != before.get(id_)]
    if not changed:
        return
    count(connection, _STAGE)
    copy_rows(
        connection,
        "registering",
        [*_COLUMNS, "stands"],
        ([*(getattr(row, c) for c in _COLUMNS), row.customer_id in before] for row in changed),
    )
    count(connection, _UPDATE)
    count(connection, _INSERT)


def read_registered(connection: Connection, behind_id: str, most: int) -> list[CustomerRow]:
    """The next customers in the order of their ids, erased ones too."""
    return [CustomerRow(*row) for row in rows(connection, _PAGE, behind=behind_id, most=most)]


def read_contacts(connection: Connection, ids: Iterable[str]) -> dict[str, Contact]:
    """The contacts of the customers that are registered and not erased."""
    found = rows(connection, _CONTACTS, ids=list(ids))
    return {id_: Contact(email, phone, opted_out) for id_, email, phone, opted_out in found}
