"""The command over a generated history: its counts, killed at any moment, and two at once."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.audit.history import Wanted, write
from bench.child import ROOT
from saec.audit import Scope, audit, derive, run
from saec.audit.books import Books
from saec.contracts.events import Channel
from saec.errors import SaecError
from saec.settings import Settings
from tests.audit.judge import Judge
from tests.bench.test_history import WANTED
from tests.cli.conftest import environment

if TYPE_CHECKING:
    from tests.stack import Installations

MESSAGES = int(os.environ.get("SAEC_TEST_EXAMPLES", "60000"))
KILLS = 4
NAME = "a test's"
SAEC = (sys.executable, "-c", "from saec.cli import main; main()")


@dataclass(frozen=True)
class Written:
    """A history, and what its generator counted."""

    settings: Settings
    tally: Counter[str]


@pytest.fixture(scope="module")
def small(installations: "Installations") -> Iterator[Written]:
    with installations.make(slice_recipients=100) as settings:
        yield Written(settings, write(settings, WANTED))


@pytest.fixture(scope="module")
def large(installations: "Installations") -> Iterator[Written]:
    with installations.make() as settings:
        yield Written(settings, write(settings, Wanted(MESSAGES, customers=3_000)))


def command(settings: Settings, work: Path, *args: str) -> subprocess.Popen[str]:
    """`saec audit`, started."""
    return subprocess.Popen(
        [*SAEC, "audit", "--json", "--work", str(work), "--late", "10m", *args],
        env={**os.environ, **environment(settings)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def told(settings: Settings, work: Path, *args: str) -> tuple[int, dict[str, Any]]:
    """Its exit code, and what it says but for what is another one every time."""
    process = command(settings, work, *args)
    out, err = process.communicate(timeout=100)
    assert out, err
    said = json.loads(out)
    del said["seconds"], said["as_of"]
    return process.returncode, said


def test_the_counts_are_those_of_the_generator(small: Written, judge: Judge) -> None:
    judged = judge(small.settings, later_ms=0, late_ms=600_000)
    total, tally = judged.report.total, small.tally
    assert judged.findings == ()
    assert total.asked == tally["messages accepted"]
    assert total.dispatched == total.expected == tally["messages"]
    assert total.skipped == tally["messages skipped"]
    assert total.stopped == tally["messages stopped"]
    assert total.awaited == tally["messages pending"]
    assert {c: t.dispatched for c, t in judged.report.by_channel.items()} == {
        channel: tally[f"messages by {channel}"] for channel in Channel
    }
    skipped: Counter[str] = Counter()
    for one in judged.report.skipped:
        skipped[one.reason] += one.messages
    prefix = "skipped "
    assert {f"{prefix}{reason}": count for reason, count in skipped.items()} == {
        name: count for name, count in tally.items() if name.startswith(prefix)
    }


def test_killed_while_it_reads_it_goes_on(large: Written, tmp_path: Path) -> None:
    whole = told(large.settings, tmp_path / "whole")
    assert whole[0] == 0
    assert whole[1]["total"]["dispatched"] == large.tally["messages"]
    pause, work = threading.Event(), tmp_path / "killed"
    for nth in range(KILLS):
        process = command(large.settings, work)
        while not list(work.glob("*.duckdb")) and process.poll() is None:
            pause.wait(0.02)
        pause.wait(0.3 * (nth + 1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert list(work.glob("*.duckdb")), "it was done before it was killed"
    assert told(large.settings, work) == whole
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("step", ["_UNITS", "_JUDGED"])
def test_killed_while_it_derives_it_derives_again(
    step: str, small: Written, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = judge(small.settings, later_ms=0, late_ms=600_000)
    with monkeypatch.context() as patched:
        patched.setattr(derive, step, "SELECT error('killed') /* {expected} */")
        with pytest.raises(Exception, match="killed"):
            judge(small.settings, later_ms=0, late_ms=600_000)
    assert len(list(judge.directory.glob("*.duckdb"))) == 1
    with monkeypatch.context() as patched:
        patched.setattr(run.extents, "take", lambda *_: pytest.fail("it begins anew"))
        again = judge(small.settings, later_ms=0, late_ms=600_000)
    assert again.findings == whole.findings == ()
    assert again.report.total == whole.report.total


def test_a_second_one_at_the_same_time_is_told_what_to_do(large: Written, tmp_path: Path) -> None:
    first, pause = command(large.settings, tmp_path), threading.Event()
    while not list(tmp_path.glob("*.duckdb")) and first.poll() is None:
        pause.wait(0.02)
    first.send_signal(signal.SIGSTOP)  # else it might be done before the second comes
    second = command(large.settings, tmp_path)
    out, err = second.communicate(timeout=100)
    first.send_signal(signal.SIGCONT)
    assert (second.returncode, out) == (3, "")
    assert "Traceback" not in err
    assert "another audit of the same is at work" in err
    assert "--work" in err
    assert json.loads(first.communicate(timeout=100)[0])["reconciles"]


def test_too_little_memory_is_told(small: Written, tmp_path: Path) -> None:
    with (
        pytest.raises(SaecError, match="memory"),
        audit(small.settings, directory=tmp_path, memory_mb=2),
    ):
        pass


def test_what_retention_takes_meanwhile_is_not_waited_for(small: Written, tmp_path: Path) -> None:
    """An audit that was interrupted long ago begins anew where it cannot go on."""
    file = _file(small.settings, tmp_path)
    with Books(file, memory_mb=100) as books:
        books.begin()
        books.open_extents([run.extents.Extent(small.settings.topics.requests, 0, 0, -5, -1, 0)])
        books.note("as_of_ms", 1)
        books.end()
    with audit(small.settings, directory=tmp_path, late_ms=600_000, name=NAME) as done:
        assert done.report.as_of_ms > 1
        assert done.report.total.dispatched == small.tally["messages"]


def _file(settings: Settings, directory: Path) -> Path:
    return directory / run._file(settings, NAME, Scope())
