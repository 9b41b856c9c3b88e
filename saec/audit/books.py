"""The audit's books: what was read, in a DuckDB file, and how far the reading got.

Invariant: rows and the offsets behind them are written in one transaction, so that an audit that
was interrupted goes on where it stopped, and counts nothing twice. Memory is bounded by DuckDB's
limit: what does not fit is on disk.
"""

import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa

from saec.audit.extents import Extent, Place
from saec.errors import SaecError
from saec.private import for_us_alone

_STREAMED = 10_000

_TABLES = """
    BEGIN;
    CREATE TABLE meta (name VARCHAR PRIMARY KEY, value VARCHAR);
    CREATE TABLE extents (
        topic VARCHAR, partition INTEGER, kept BIGINT, first BIGINT, last BIGINT,
        settled BIGINT, reached BIGINT, oldest_ms BIGINT, PRIMARY KEY (topic, partition));
    CREATE TABLE requests (
        partition INTEGER, "offset" BIGINT, stamped_ms BIGINT, request_id UUID, requester VARCHAR,
        campaign_id VARCHAR, channels UTINYINT, customers VARCHAR[], people INTEGER, due_ms BIGINT,
        expires_ms BIGINT, content UHUGEINT, doubled BOOLEAN);
    CREATE TABLE cancels (
        partition INTEGER, "offset" BIGINT, stamped_ms BIGINT, request_id UUID, requester VARCHAR);
    CREATE TABLE answers (
        partition INTEGER, "offset" BIGINT, source_partition INTEGER, source_offset BIGINT,
        request_id UUID, status VARCHAR, reason VARCHAR, stopped BIGINT, people_stopped BIGINT,
        late BOOLEAN);
    CREATE TABLE batches (
        shard INTEGER, "offset" BIGINT, kind VARCHAR, batch_no BIGINT, epoch BIGINT);
    CREATE TABLE slices (
        shard INTEGER, "offset" BIGINT, batch_no BIGINT, dispatched_ms BIGINT, request_id UUID,
        slice_no INTEGER, recipients INTEGER, messages INTEGER);
    CREATE TABLE skips (
        shard INTEGER, "offset" BIGINT, request_id UUID, slice_no INTEGER, channel UTINYINT,
        reason VARCHAR, messages INTEGER);
    CREATE TABLE sent (
        topic UTINYINT, partition INTEGER, "offset" BIGINT, stamped_ms BIGINT, message_id UUID,
        content_no INTEGER, customer UBIGINT, whole BOOLEAN, dispatched_ms BIGINT);
    CREATE TABLE contents (
        content_no INTEGER, request_id UUID, digest UHUGEINT, due_ms BIGINT, wanted BOOLEAN);
    CREATE TABLE strangers (
        topic VARCHAR, partition INTEGER, "offset" BIGINT, stamped_ms BIGINT, reason VARCHAR);
    COMMIT;
"""
_EXTENT = "INSERT INTO extents VALUES (?, ?, ?, ?, ?, ?, ?, NULL)"
_REACHED = """
    UPDATE extents SET reached = ?, oldest_ms = coalesce(oldest_ms, ?)
    WHERE topic = ? AND partition = ?
"""


class BooksError(SaecError):
    """The file of an audit cannot be worked with, or not in so little memory."""


@contextmanager
def in_words() -> Iterator[None]:
    """What DuckDB complains of, with what to do next.

    Raises:
        BooksError: no room in memory or on the disk, or the file is somebody else's now.
    """
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise BooksError(
            "the audit has too little memory: give it more with --memory-mb; it goes on where it "
            "stopped"
        ) from None
    except duckdb.IOException as error:
        if "lock" in str(error):
            raise BooksError(
                "another audit of the same is at work: wait until it is done, or give this one a "
                "directory of its own with --work"
            ) from None
        raise BooksError(
            f"the audit's file: {error}; give it another directory with --work"
        ) from None


def _check_owner(path: Path) -> None:
    """Go on in no file that somebody else laid out, or could replace."""
    folder, mine = path.parent.stat(), os.geteuid()
    if folder.st_uid not in {mine, 0}:
        raise BooksError(f"{path.parent} belongs to another user: give the audit one of your own")
    try:
        file = path.lstat()
    except FileNotFoundError:
        return
    if file.st_uid != mine or not stat.S_ISREG(file.st_mode):
        raise BooksError(
            f"{path} is no file of yours: remove it, or give the audit a folder of its own with "
            "--work"
        )
    path.chmod(0o600)


class Books:
    """The file of one audit. Use it as a context manager."""

    def __init__(self, path: Path, *, memory_mb: int) -> None:
        """Open the file, or make it.

        Raises:
            BooksError: another audit has it open, or another user laid it out.
        """
        # The ids of customers stand in it.
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(path)
        self.path = path
        with in_words(), for_us_alone():
            self._con = duckdb.connect(
                str(path),
                config={
                    "memory_limit": f"{memory_mb}MB",
                    "temp_directory": str(path.with_suffix(".spill")),
                    "preserve_insertion_order": False,
                    "threads": 2,
                    # DuckDB 2.0.0 fails on a check of its own where a join filters the dictionary
                    # of a column: of one that is read from a file, or unnested.
                    "disabled_optimizers": "join_filter_pushdown",
                },
            )
        if not self.rows("SELECT 1 FROM duckdb_tables() WHERE table_name = 'meta'"):
            self._con.execute(_TABLES)

    def limit(self, memory_mb: int) -> None:
        """So much memory may DuckDB take from now on."""
        self._con.execute(f"SET memory_limit = '{memory_mb}MB'")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; it stays."""
        self._con.close()

    def discard(self) -> None:
        """Close the file and remove it: the audit is done."""
        self.close()
        for path in self.path.parent.glob(f"{self.path.stem}.*"):
            if path.is_file():
                path.unlink()

    @property
    def digest_key(self) -> str:
        """What digests of addresses are made with in these books, and in no others."""
        key = self.meta("digest_key")
        if key is None:
            key = secrets.token_hex(16)
            self.note("digest_key", key)
        return str(key)

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement; what it returns."""
        return self._con.execute(sql, list(values)).fetchall()

    def stream(self, sql: str, *values: Any) -> Iterator[list[tuple[Any, ...]]]:
        """Run one statement; yields its rows, some at a time."""
        with closing(self._con.cursor()) as cursor:
            cursor.execute("SET search_path = 'derived,main'")
            cursor.execute(sql, list(values))
            while found := cursor.fetchmany(_STREAMED):
                yield found

    def insert_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each of these."""
        if rows:
            self._con.executemany(sql, rows)

    def run(self, sql: str) -> None:
        """Run statements that return nothing."""
        self._con.execute(sql)

    def meta(self, name: str) -> Any:
        """What was noted under a name; None if nothing was."""
        found = self.rows("SELECT value FROM meta WHERE name = ?", name)
        return json.loads(found[0][0]) if found else None

    def note(self, name: str, value: Any) -> None:
        """Write something down under a name."""
        self.rows("INSERT OR REPLACE INTO meta VALUES (?, ?)", name, json.dumps(value))

    def open_extents(self, extents: Sequence[Extent]) -> None:
        """Write down what is to be read."""
        for one in extents:
            self.rows(
                _EXTENT,
                *(one.topic, one.partition, one.kept, one.first, one.last, one.settled, one.first),
            )

    def extents(self) -> list[Extent]:
        """What is to be read, as it was written down."""
        found = self.rows("SELECT topic, partition, kept, first, last, settled FROM extents")
        return [Extent(*row) for row in found]

    def reached(self) -> dict[Place, int]:
        """The next offset to read, by topic and partition."""
        found = self.rows("SELECT topic, partition, reached FROM extents")
        return {(topic, partition): offset for topic, partition, offset in found}

    def begin(self) -> None:
        """Open a transaction."""
        self._con.begin()

    def end(self) -> None:
        """Commit it."""
        self._con.commit()

    def insert(self, sql: str, page: pa.Table, *values: Any) -> None:
        """Insert from a page, which `sql` calls `page`."""
        self._con.register("page", page)
        self._con.execute(sql, list(values)).fetchall()
        self._con.unregister("page")

    def commit(self, topic: str, reached: Mapping[int, int], oldest_ms: Mapping[int, int]) -> None:
        """End the transaction, and with it note how far a topic was read."""
        for partition, offset in reached.items():
            self.rows(_REACHED, offset, oldest_ms.get(partition), topic, partition)
        self._con.commit()
