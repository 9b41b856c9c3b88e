"""The plans of the statements that run in a block, as PostgreSQL carried them out.

Invariant: explaining a statement changes nothing: what EXPLAIN did is rolled back to a savepoint,
and then the statement runs as it would have.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from saec.store.engine import Connection

_PLANNED = ("SELECT", "WITH", "INSERT", "DELETE", "UPDATE")


class Plans:
    """What the statements of a block read, and how. Only of the tables that grow."""

    def __init__(self, tables: Iterable[str]) -> None:
        self._tables = frozenset(tables)
        self._tops: list[dict[str, Any]] = []

    def add(self, top: dict[str, Any]) -> None:
        """The plan of one more statement."""
        self._tops.append(top)

    def nodes(self) -> list[dict[str, Any]]:
        """Every node of every plan."""
        return [node for top in self._tops for node in _nodes(top)]

    def kinds(self) -> set[str]:
        """The kinds of these nodes."""
        return {node["Node Type"] for node in self.nodes()}

    def indexes(self) -> set[str]:
        """The indexes that rows were come by."""
        named = {node["Index Name"] for node in self.nodes() if "Index Name" in node}
        arbiters = (node.get("Conflict Arbiter Indexes", ()) for node in self.nodes())
        every = named.union(*arbiters)
        return {name for name in every if name.partition("_")[0] in self._tables}

    def read_whole(self) -> set[str]:
        """The tables that were read from one end to the other."""
        whole = {node["Relation Name"] for node in self.nodes() if node["Node Type"] == "Seq Scan"}
        return whole & self._tables

    def rows_read(self) -> int:
        """How many rows the scans took from the tables, those filtered out as well."""
        return sum(_taken(node) for node in self.nodes() if self._scans(node))

    def rows_sorted(self) -> int:
        """The most rows that any node sorted."""
        sorts = (node for node in self.nodes() if node["Node Type"] in {"Sort", "Incremental Sort"})
        return max((_taken(node) for node in sorts), default=0)

    def blocks(self) -> int:
        """How many blocks were looked at, in memory or not, each as often as it was."""
        return sum(top["Shared Hit Blocks"] + top["Shared Read Blocks"] for top in self._tops)

    def _scans(self, node: dict[str, Any]) -> bool:
        return "Scan" in node["Node Type"] and node.get("Relation Name") in self._tables


@contextmanager
def explained(connection: Connection, tables: Iterable[str]) -> Iterator[Plans]:
    """The plans of what runs in this block."""
    plans = Plans(tables)

    def explain(_: Connection, cursor: Any, statement: str, parameters: Any, *__: object) -> None:
        if not statement.lstrip().startswith(_PLANNED):
            return
        cursor.execute("SAVEPOINT explained")
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters)
        plans.add(cursor.fetchone()[0][0]["Plan"])
        cursor.execute("ROLLBACK TO SAVEPOINT explained")

    event.listen(connection, "before_cursor_execute", explain)
    try:
        yield plans
    finally:
        event.remove(connection, "before_cursor_execute", explain)


def _taken(node: dict[str, Any]) -> int:
    removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    each = node["Actual Rows"] + sum(node.get(name, 0) for name in removed)
    return round(each * node["Actual Loops"])


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)
