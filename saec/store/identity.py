"""Which Kafka a database belongs to, and whether a recovery of it is under way.

Invariant: what offsets in this database count from is one cluster and three topics; an id that is
known is replaced only by `saec recover --new-cluster`.
"""

from dataclasses import dataclass, fields

from sqlalchemy import Connection

from saec.store.engine import count, rows


@dataclass(frozen=True, slots=True)
class KafkaIds:
    """The ids that Kafka gave to its cluster and to the topics whose offsets are stored.

    None is not known: a database of the first release, before the next `saec init`.
    """

    cluster_id: str | None
    requests_topic_id: str | None
    customers_topic_id: str | None
    ledger_topic_id: str | None


_NAMES = [field.name for field in fields(KafkaIds)]
_READ = f"SELECT {', '.join(_NAMES)}, recovering FROM installation"
_ADOPT = f"""
    UPDATE installation SET {", ".join(f"{n} = coalesce({n}, %({n})s)" for n in _NAMES)}
    WHERE {" OR ".join(f"{n} IS NULL" for n in _NAMES)}
"""  # not written when nothing is missing: see `saec.store.ground`
_REPLACE = f"UPDATE installation SET {', '.join(f'{n} = %({n})s' for n in _NAMES)}"
_RECOVERING = "UPDATE installation SET recovering = %(recovering)s"


def read_ids(connection: Connection) -> tuple[KafkaIds, bool]:
    """The ids as they are stored, and whether a recovery is under way."""
    *ids, recovering = rows(connection, _READ)[0]
    return KafkaIds(*ids), recovering


def adopt_ids(connection: Connection, ids: KafkaIds) -> None:
    """Write down those ids that are not known yet."""
    count(connection, _ADOPT, **_values(ids))


def replace_ids(connection: Connection, ids: KafkaIds) -> None:
    """Write down these ids, whatever stood there."""
    count(connection, _REPLACE, **_values(ids))


def mark_recovering(connection: Connection, *, recovering: bool) -> None:
    """Keep every process out, or let them in again."""
    count(connection, _RECOVERING, recovering=recovering)


def _values(ids: KafkaIds) -> dict[str, str | None]:
    return {name: getattr(ids, name) for name in _NAMES}
