"""Runs an audit: take the ends, read, derive, find, add up.

Invariant: an audit that was interrupted while it read goes on where it stopped, with the ends that
it took at first; its file is removed once the caller is done with it.
"""

import ctypes
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from importlib.metadata import version
from pathlib import Path

import platformdirs

from saec.audit import extents, findings, reading, snapshot, store
from saec.audit.books import Books, in_words
from saec.audit.derive import Bounds, derive
from saec.audit.findings import Finding
from saec.audit.report import Report, summarise
from saec.audit.scope import Scope
from saec.settings import Settings

LATE_MS = 300_000
MEMORY_MB = 180
_M_ARENA_MAX, _HEAPS = -8, 2
Told = Callable[[int, int], None]
"""Hears how many offsets were read so far, and of how many."""


@dataclass(frozen=True)
class Audit:
    """An audit that is done, as long as its context is open."""

    report: Report
    _books: Books

    def findings(self) -> Iterator[Finding]:
        """Every finding, sorted by kind. They are read from disk, however many there are."""
        return findings.stream(self._books)


def nobody(_done: int, _total: int) -> None:
    """Nobody is watching."""


@contextmanager
def audit(
    settings: Settings,
    scope: Scope | None = None,
    *,
    late_ms: int = LATE_MS,
    directory: Path | None = None,
    memory_mb: int = MEMORY_MB,
    told: Told = nobody,
    name: str | None = None,
) -> Iterator[Audit]:
    """Hold what was asked against what was dispatched, from the topics alone.

    `late_ms`: how long after its instant a message is late; what is younger is awaited.
    `directory` keeps the file in which an interrupted audit of the same `name` goes on, with the
    scope that it had; by default it is named after its scope. `memory_mb` is DuckDB's; the process
    takes about 250 MB more.

    Raises:
        BrokerUnavailableError: no answer; the same audit goes on where it stopped.
        BooksError: no room in memory or on the disk, or another audit of the same is at work.
        ConfigurationError: a topic is missing, or with the store: the database is another one's.
        StoreUnavailableError: with the store: no answer from it.
        ValueError: with the store, and a scope that is not whole.
    """
    _share_heaps()
    scope = scope or Scope()
    if scope.store and not scope.whole:
        raise ValueError("PostgreSQL is compared as a whole")
    where = directory or platformdirs.user_cache_path("saec") / "audits"
    file = _file(settings, name or repr(astuple(scope)), scope)
    books = _opened(settings, where / file, memory_mb)
    try:
        with in_words():
            scope = _of_the_first_run(books, scope)
            books.limit(memory_mb // 2)  # what is being read takes the other half
            as_of_ms = _read(settings, books, scope, told)
            books.limit(memory_mb)
            derive(books, settings, Bounds(as_of_ms, late_ms))
            findings.find(books, scope)
            if scope.store:
                store.compare(books, settings)
            report = summarise(books, scope, as_of_ms, late_ms)
        yield Audit(report, books)
    except BaseException:
        books.close()
        raise
    books.discard()


def reconcile(settings: Settings, scope: Scope | None = None, **how: int) -> Iterator[Finding]:
    """Every finding of an audit; none when it reconciles. See `audit` for `how`, and for a report.

    Raises:
        BrokerUnavailableError: no answer; the same audit goes on where it stopped.
    """
    with audit(settings, scope, **how) as done:  # type: ignore[arg-type]
        yield from done.findings()


def _read(settings: Settings, books: Books, scope: Scope, told: Told) -> int:
    """Read what is not in the books yet; when the ends were taken."""
    begun_ms = books.meta("as_of_ms")
    if begun_ms is None:
        begun_ms = time.time_ns() // 1_000_000
        books.begin()
        if scope.store:
            snapshot.take(settings, books)
            books.open_extents(snapshot.registry(settings))
        books.open_extents(extents.take(settings, scope.since_ms))
        books.note("as_of_ms", begun_ms)
        books.end()
    total = sum(one.last - one.first for one in books.extents())
    done = sum(books.reached().values()) - sum(one.first for one in books.extents())
    told(done, total)

    def more(count: int) -> None:
        nonlocal done
        done += count
        told(done, total)

    reading.read(settings, books, scope, more)
    return int(begun_ms)


def _share_heaps() -> None:
    """glibc gives each thread a heap of its own and keeps it: a tenth of what an audit takes."""
    with suppress(OSError, AttributeError):  # of other systems
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _HEAPS)


def _opened(settings: Settings, path: Path, memory_mb: int) -> Books:
    """The books of the audit that was interrupted; new ones if it cannot go on."""
    books = Books(path, memory_mb=memory_mb)
    if books.meta("as_of_ms") is None:
        return books
    try:
        if extents.are_there(settings, books.extents(), books.reached()):
            return books
    except BaseException:
        books.close()
        raise
    books.discard()
    return Books(path, memory_mb=memory_mb)


def _of_the_first_run(books: Books, scope: Scope) -> Scope:
    """The scope that was noted at first: `7d ago` is another instant whenever it is asked."""
    noted = books.meta("scope")
    if noted is None:
        books.note("scope", astuple(scope))
        return scope
    return Scope(*noted)


def _file(settings: Settings, name: str, scope: Scope) -> str:
    """The same for the same audit of the same installation, by the same release."""
    # Without the user and the password.
    database = settings.database_url.rpartition("@")[2] if scope.store else None
    about = (version("saec"), settings.bootstrap_servers, settings.topic_prefix, name, database)
    return f"{hashlib.blake2b(repr(about).encode(), digest_size=8).hexdigest()}.duckdb"
