"""What `saec doctor` wants to know of the database. Reads only, in a snapshot of the caller's.

Invariant: nothing of a customer or a message is read.
"""

from dataclasses import dataclass, replace

from sqlalchemy import Connection

from saec.store.bounds import not_in_force
from saec.store.engine import rows


@dataclass(frozen=True, slots=True)
class ShardState:
    """A row of `shards`, and when the first of its pending slices is due (None: none pending)."""

    shard: int
    ledger_offset: int
    halted: str | None
    next_due_ms: int | None


@dataclass(frozen=True, slots=True)
class Durability:
    """What decides whether PostgreSQL keeps what it committed, and takes what is written.

    `unawaited` counts the standbys, when a commit waits for none of them; `unbound` names the
    settings that a transaction of SAEC made, and that are not in force.
    """

    fsync: bool
    full_page_writes: bool
    synchronous_commit: bool
    writable: bool
    unawaited: int = 0
    unbound: tuple[str, ...] = ()


_SHARDS = """
    SELECT shard, ledger_offset, halted,
           (SELECT min(due_at_ms) FROM (VALUES (0), (1)) l(lane) CROSS JOIN LATERAL (
                SELECT due_at_ms FROM pending p WHERE p.shard = s.shard AND p.lane = l.lane
                ORDER BY due_at_ms, seq LIMIT 1) first)
    FROM shards s ORDER BY shard
"""
_DURABILITY = """
    SELECT current_setting('fsync')::boolean, current_setting('full_page_writes')::boolean,
           current_setting('synchronous_commit') <> 'off',
           NOT pg_is_in_recovery()
               AND NOT current_setting('default_transaction_read_only')::boolean,
           CASE WHEN current_setting('synchronous_standby_names') = ''
                  OR current_setting('synchronous_commit') IN ('off', 'local')
                THEN (SELECT count(*) FROM pg_stat_replication r
                      WHERE coalesce(r.state, 'streaming') = 'streaming' AND NOT EXISTS (
                          SELECT FROM pg_replication_slots s
                          WHERE s.active_pid = r.pid AND s.slot_type = 'logical'))
                ELSE 0 END
"""


def read_shards(connection: Connection) -> list[ShardState]:
    """Every shard, in order."""
    return [ShardState(*row) for row in rows(connection, _SHARDS)]


def read_durability(connection: Connection) -> Durability:
    """The settings as a transaction of SAEC with ordinary bounds has them."""
    found = Durability(*rows(connection, _DURABILITY)[0])
    return replace(found, unbound=tuple(sorted(not_in_force(connection))))
