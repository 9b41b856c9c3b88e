"""What reads topics stays within its memory, however well records were compressed.

A consumer runs in a control group with the limit of docs/operations.md, where the machine has
them and lets us; its peak is looked at anyway.
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
from tests import raw_batches
from tests.altered import take_compressed
from tests.hostile.topic import Record, publish, said
from tests.kafka.test_unreadable import good

ROOT = Path(__file__).resolve().parents[2]
GROUPS = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
LIMITS = "memory.limit_in_bytes", "memory.max"
NEW, OLDER = 512, 2_500  # MiB
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


def peak_mib(settings: Settings, log: Path, mib: int, answers: int) -> int:
    """Let a consumer answer so many records within a limit; returns the most that it took."""
    environment = {
        "SAEC_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "SAEC_DATABASE_URL": settings.database_url,
        "SAEC_TOPIC_PREFIX": settings.topic_prefix,
    }
    with group(mib) as made, log.open("wb") as output:
        join = f"echo $$ > {made}/cgroup.procs; " if made else ""
        command = f"{join}exec {sys.executable} -m consumers.requests"
        child = subprocess.Popen(
            ["sh", "-c", command], cwd=ROOT, env=os.environ | environment, stderr=output
        )
        for _ in range(TRIES):
            found = said(settings, settings.topics.requests)
            if child.poll() is not None or sum(map(len, found.statuses.values())) >= answers:
                break
        ended = child.poll()
        assert ended is None, log.read_text()[-4_000:]
        # Not ru_maxrss, which begins with what this process had when it forked.
        used = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{child.pid}/status").read_text())
        child.terminate()
        child.wait()
        assert sum(map(len, found.statuses.values())) == answers, log.read_text()[-4_000:]
        assert found.statuses[max(found.statuses)][0].status is Status.ACCEPTED
        assert used is not None
        return int(used[1]) >> 10


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


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak")
def test_on_topics_that_take_what_is_small_compressed(
    installation: Settings, tmp_path: Path
) -> None:
    topic = installation.topics.requests
    take_compressed(installation)
    kinds = [
        ("gzip", 120, "value"),
        ("zstd", 120, "value"),
        *((codec, 60, place) for codec in ("gzip", "lz4", "zstd") for place in ("value", "key")),
        *[("lz4", 60, "header")] * 2,
    ]
    for codec, size, place in kinds:
        batch = raw_batches.batch(codec, raw_batches.Large(size * 1_000_000, place))
        assert raw_batches.publish(installation.bootstrap_servers, topic, batch) == 0
    assert publish(installation, topic, [Record(good())]) == []
    assert peak_mib(installation, tmp_path / "log", OLDER, len(kinds) + 1) < OLDER
