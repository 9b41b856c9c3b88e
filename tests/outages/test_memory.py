"""What reads topics stays within its memory, however well records were compressed.

Every consumer and command runs in a control group with the limit of docs/operations.md, where the
machine has them and lets us; its peak is looked at anyway.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from saec.contracts.status import Status
from saec.settings import Settings
from saec.store.engine import count, open_engine, rows, transaction
from tests import raw_batches
from tests.altered import take_compressed
from tests.hostile.topic import Record, publish, said
from tests.kafka.test_unreadable import good

ROOT = Path(__file__).resolve().parents[2]
GROUPS = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
LIMITS = "memory.limit_in_bytes", "memory.max"
NEW, OLDER = 512, 2_500  # MiB
# Started in its place: it forks from little, so that the peak is the command's own.
MEASURED = """
import resource, subprocess, sys
run = "from saec.cli import main; main()"
code = subprocess.run([sys.executable, "-c", run, *sys.argv[1:]]).returncode
print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10, file=sys.stderr)
sys.exit(code if code >= 0 else 128 - code)
"""
CODECS = ("gzip", "snappy", "lz4", "zstd")
TOO_LARGE = 10
TRIES = 600


@contextmanager
def group(mib: int) -> Iterator[Path | None]:
    """A control group with this limit; None where we may not make one."""
    made = next(filter(None, map(_made, GROUPS, LIMITS, [mib] * len(GROUPS))), None)
    try:
        yield made
    finally:
        if made is not None:
            made.rmdir()


def _made(place: Path, limit: str, mib: int) -> Path | None:
    made = place / f"saec-{os.getpid()}-{mib}"
    try:
        made.mkdir()
    except OSError:
        return None
    try:
        (made / limit).write_text(str(mib << 20))
    except OSError:
        made.rmdir()
        return None
    return made


def surroundings(settings: Settings) -> dict[str, str]:
    return os.environ | {
        "SAEC_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "SAEC_DATABASE_URL": settings.database_url,
        "SAEC_TOPIC_PREFIX": settings.topic_prefix,
    }


def started(made: Path | None, *command: str) -> list[str]:
    """What starts Python with a command in a control group."""
    join = f"echo $$ > {made}/cgroup.procs; " if made else ""
    return ["sh", "-c", f'{join}exec "$@"', "sh", sys.executable, *command]


def peak_mib(
    settings: Settings, log: Path, mib: int, answers: int, consumer: str = "requests"
) -> int:
    """Let a consumer answer so many records within a limit; returns the most that it took."""
    topic = f"{settings.topic_prefix}{consumer}"
    with group(mib) as made, log.open("wb") as output:
        child = subprocess.Popen(
            started(made, "-m", f"consumers.{consumer}"),
            cwd=ROOT,
            env=surroundings(settings),
            stderr=output,
        )
        for _ in range(TRIES):
            found = said(settings, topic)
            if child.poll() is not None or sum(map(len, found.statuses.values())) >= answers:
                break
        ended = child.poll()
        assert ended is None, log.read_text()[-4_000:]
        # Not ru_maxrss, which begins with what this process had when it forked.
        used = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{child.pid}/status").read_text())
        child.terminate()
        child.wait()
        assert sum(map(len, found.statuses.values())) == answers, log.read_text()[-4_000:]
        assert used is not None
        return int(used[1]) >> 10


def commands_peak_mib(settings: Settings, mib: int, *command: str) -> tuple[int, str, int]:
    """Exit code, what is printed, and the most that a command of SAEC took within a limit."""
    with group(mib) as made:
        done = subprocess.run(
            started(made, "-c", MEASURED, *command),
            cwd=ROOT,
            env=surroundings(settings),
            capture_output=True,
            text=True,
            check=False,
        )
    told = re.search(r"^peak (\d+)$", done.stderr, re.MULTILINE)
    assert told is not None, done.stderr[-2_000:]
    return done.returncode, done.stdout + done.stderr, int(told[1])


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak")
def test_on_topics_as_they_are_created(installation: Settings, tmp_path: Path) -> None:
    """The broker refuses what is too large; what is as large as may be comes in many records."""
    topic = installation.topics.requests
    for codec in CODECS:
        large = raw_batches.batch(codec, raw_batches.Large(60_000_000))
        said_by_the_broker = raw_batches.publish(installation.bootstrap_servers, topic, large)
        assert said_by_the_broker == TOO_LARGE, codec
    many = [Record(b"{" + bytes(999_999), b"k") for _ in range(60)]
    assert publish(installation, topic, [*many, Record(good())]) == []
    assert peak_mib(installation, tmp_path / "log", NEW, len(many) + 1) < NEW
    statuses = said(installation, topic).statuses
    assert statuses[max(statuses)][0].status is Status.ACCEPTED


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak")
def test_on_topics_that_take_what_is_small_compressed(
    installation: Settings, tmp_path: Path
) -> None:
    """The consumer first, then each command that reads a source topic from its beginning."""
    topic = installation.topics.requests
    refused = add_large(installation, topic)
    assert publish(installation, topic, [Record(good())]) == []
    assert peak_mib(installation, tmp_path / "log", OLDER, refused + 1) < OLDER
    last = max(said(installation, topic).statuses.items())[1][0]
    assert last.status is Status.ACCEPTED
    for command in (
        ("audit", "--store", "--json"),
        ("history", str(last.request_id)),
        ("replay", topic, "--to", f"{topic}.copy", "--create", "--dry-run"),
    ):
        code, output, peak = commands_peak_mib(installation, OLDER, *command)
        assert code == 0, output
        assert peak < OLDER, command
    forget_requests(installation)
    code, output, peak = commands_peak_mib(installation, OLDER, "recover", "--json")
    assert code == 0, output
    assert peak < OLDER
    assert requests_stored(installation) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak")
def test_registrations_that_are_small_compressed(installation: Settings, tmp_path: Path) -> None:
    topic = installation.topics.customers
    refused = add_large(installation, topic)
    assert publish(installation, topic, [Record(b"{", b"ana")]) == []
    assert peak_mib(installation, tmp_path / "log", OLDER, refused + 1, "customers") < OLDER


def forget_requests(settings: Settings) -> None:
    """Let PostgreSQL stand where it stood before anything was asked."""
    engine = open_engine(settings.database_url)
    with transaction(engine) as connection:
        for table in ("pending", "requests"):
            count(connection, f"DELETE FROM {table}")
        count(connection, "UPDATE positions SET next_offset = 0")
    engine.dispose()


def requests_stored(settings: Settings) -> int:
    engine = open_engine(settings.database_url)
    with transaction(engine) as connection:
        found = rows(connection, "SELECT count(*) FROM requests")
    engine.dispose()
    return int(found[0][0])


def add_large(settings: Settings, topic: str) -> int:
    """Publish records that are small only compressed, where they are taken; returns how many."""
    take_compressed(settings)
    kinds = [
        ("gzip", 120, "value"),
        ("zstd", 120, "value"),
        *((codec, 60, place) for codec in ("gzip", "lz4", "zstd") for place in ("value", "key")),
        *[("lz4", 60, "header")] * 2,
    ]
    for codec, size, place in kinds:
        batch = raw_batches.batch(codec, raw_batches.Large(size * 1_000_000, place))
        assert raw_batches.publish(settings.bootstrap_servers, topic, batch) == 0
    return len(kinds)
