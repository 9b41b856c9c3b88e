"""PostgreSQL at one instant, as tables of the books, and what it must have known by then.

Before the snapshot it is noted how far the groups and the ledger had come, after it the ends of the
topics are taken. Invariant: what the topics held at the first instant PostgreSQL must know, and
what PostgreSQL knows the topics hold.
"""

import tempfile
from pathlib import Path

from saec import installation
from saec.audit import kept
from saec.audit.books import Books
from saec.audit.extents import Extent
from saec.kafka import stretches
from saec.settings import Settings
from saec.store.engine import open_engine, transaction
from saec.store.export import EXPORTED, export

_MARKS = """
    CREATE TABLE marks (topic VARCHAR, partition INTEGER, before BIGINT, PRIMARY KEY (
        topic, partition));
"""
# Nothing is detected: what looks like a number may be a requester's name.
_LOAD = """
    CREATE TABLE pg.{table} AS SELECT * FROM read_csv(
        '{path}', header = true, auto_detect = false, delim = ',', quote = '"', escape = '"',
        nullstr = '\\N', allow_quoted_nulls = false, parallel = false, columns = {columns})
"""


def take(settings: Settings, books: Books) -> None:
    """Copy the tables into the books' schema `pg`, and the marks; in the books' transaction.

    One that was rebuilt, or is being recovered, is compared as well: that is what it is for.

    Raises:
        ConfigurationError: the database belongs to another Kafka.
        StoreUnavailableError, BrokerUnavailableError: no answer.
    """
    engine = open_engine(settings.database_url, application="saec-audit")
    try:
        stands = installation.belonging(settings, engine)
    finally:
        engine.dispose()
    books.note("shards", stands.shards)
    books.run(_MARKS + kept.TABLES)
    _mark(settings, books)
    copy(settings, books)


def copy(settings: Settings, books: Books) -> None:
    """Copy the tables alone. Raises StoreUnavailableError."""
    books.run("CREATE SCHEMA pg")
    key = books.digest_key
    engine = open_engine(settings.database_url, application="saec-audit")
    try:
        # The files may become as large as the tables: on the disk that was chosen for it.
        with tempfile.TemporaryDirectory(dir=books.path.parent) as directory:
            paths = {table: Path(directory) / f"{table}.csv" for table in EXPORTED}
            with transaction(engine, snapshot=True) as connection:
                for table, path in paths.items():
                    export(connection, table, path, key)
            for table, path in paths.items():
                _load(books, table, path)
    finally:
        engine.dispose()


def registry(settings: Settings) -> list[Extent]:
    """The stretches of saec.registry, and of saec.customers without any record; ends are of now.

    Raises:
        BrokerUnavailableError: no answer.
    """
    whole, source = settings.topics.registry, settings.topics.customers
    return [
        *(
            Extent(whole, partition, one.start, one.start, one.end, one.end)
            for partition, one in stretches.bounds(settings, whole, committed=True).items()
        ),
        *(
            Extent(source, partition, one.start, one.end, one.end, one.end)
            for partition, one in stretches.bounds(settings, source, committed=True).items()
        ),
    ]


def _mark(settings: Settings, books: Books) -> None:
    """How far each topic had come that PostgreSQL follows."""
    topics = settings.topics
    ledger = stretches.bounds(settings, topics.ledger, committed=True)
    marks = {
        topics.requests: stretches.committed_offsets(
            settings, "requests", topics.requests, wait=False
        ),
        topics.customers: stretches.committed_offsets(
            settings, "customers", topics.customers, wait=False
        ),
        topics.ledger: {shard: one.end for shard, one in ledger.items()},
    }
    books.insert_many(
        "INSERT INTO marks VALUES (?, ?, ?)",
        [(topic, p, at) for topic, offsets in marks.items() for p, at in offsets.items()],
    )


def _load(books: Books, table: str, path: Path) -> None:
    name = str(path).replace("'", "''")
    books.run(_LOAD.format(table=table, path=name, columns=dict(EXPORTED[table])))
    path.unlink()
