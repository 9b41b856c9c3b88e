"""What bounds every statement and lock, set anew in each transaction.

Invariant: nothing of it belongs to a session, so a pooler that hands sessions round keeps none of
it back and needs to let nothing through.
"""

from dataclasses import dataclass
from functools import cache

from sqlalchemy import Connection

_OF_ALL = {
    # JIT compiles longer than a claim takes. A queue's statistics are often those of an empty
    # table, and then a batch would be looked up by reading all of it.
    "jit": "off",
    "enable_seqscan": "off",
    "TimeZone": "UTC",
}
_IN_FORCE = "SELECT name, setting FROM pg_settings WHERE name = ANY(%(names)s)"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long PostgreSQL lets a transaction work at a statement, wait for a lock, and idle."""

    statement_s: int = 60
    lock_s: int = 15
    idle_s: int = 60

    @property
    def settings(self) -> dict[str, str]:
        """PostgreSQL's settings, as pg_settings shows them: times in milliseconds."""
        return {
            "statement_timeout": str(1_000 * self.statement_s),
            "lock_timeout": str(1_000 * self.lock_s),
            "idle_in_transaction_session_timeout": str(1_000 * self.idle_s),
            **_OF_ALL,
        }


ORDINARY = Bounds()
# For what holds locks that others wait for, and itself waits for nothing but PostgreSQL: a process
# that freezes there lets go soon.
BRIEF = Bounds(lock_s=5, idle_s=5)
NAMES = frozenset(ORDINARY.settings)


@cache
def opening(bounds: Bounds, *, snapshot: bool) -> str:
    """What begins a transaction under `bounds`, in one message.

    Answers whether the transaction can only read, and whether the server is a standby.
    """
    mode = "REPEATABLE READ READ ONLY" if snapshot else "READ COMMITTED"
    chosen = ", ".join(
        f"set_config('{name}', '{value}', true)" for name, value in bounds.settings.items()
    )
    return (
        f"BEGIN ISOLATION LEVEL {mode}; SELECT current_setting('transaction_read_only')::boolean, "
        f"pg_is_in_recovery(), {chosen}"
    )


def not_in_force(connection: Connection, bounds: Bounds = ORDINARY) -> dict[str, str]:
    """What this transaction has otherwise than `bounds` say: setting -> value found."""
    names = {"names": list(bounds.settings)}
    found = dict(tuple(row) for row in connection.exec_driver_sql(_IN_FORCE, names).fetchall())
    return {
        name: found.get(name, "unknown")
        for name, value in bounds.settings.items()
        if found.get(name) != value
    }
