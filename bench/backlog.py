"""Sites with much that is pending and not due for a long time.

Invariant: a site is loaded once a run and shared by the parts, each of which leaves as many pending
as it found.
"""

from collections.abc import Sequence
from uuid import UUID

from bench import preload
from bench.instants import now_ms
from bench.lab import Lab
from bench.say import say
from bench.site import Site
from bench.workload import Singles

CUSTOMERS = 100_000
_DAY_MS = 86_400_000
_CHUNK = 50_000


def loaded(lab: Lab, pending: int) -> Site:
    """A site with so many requests pending, due evenly from tomorrow on for 600 days."""
    site = lab.site(f"p{pending}")
    preload.registry(site, CUSTOMERS)
    if not site.rows("SELECT 1 FROM pending LIMIT 1") and pending:
        say(f"{pending:,} requests are stored")
        first_ms = now_ms() + _DAY_MS
        step_ms = max(1, 600 * _DAY_MS // pending)
        dues_ms = range(first_ms, first_ms + step_ms * pending, step_ms)
        preload.singles(site, Singles("backlog", dues_ms, CUSTOMERS))
        say("  vacuum")
        site.settle()
    return site


def forget(site: Site, ids: Sequence[UUID]) -> None:
    """Take these requests out again, and leave the tables as vacuumed as they were."""
    with site.connect() as connection, connection.cursor() as cursor:
        for start in range(0, len(ids), _CHUNK):
            chunk = [str(id_) for id_ in ids[start : start + _CHUNK]]
            for table in ("pending", "requests"):
                cursor.execute(f"DELETE FROM {table} WHERE request_id = ANY(%s::uuid[])", (chunk,))
    site.settle()


def named(pending: int) -> str:
    """So many pending, in short: 0, 1M, 10M."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if pending >= size:
            return f"{pending / size:g}{unit} pending"
    return f"{pending} pending"
