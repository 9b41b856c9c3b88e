"""A restore excuses what SAEC says of it, and nothing else; a recovery that fails is found."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults import restore as restoring
from faults.parts import wait_until
from faults.processes import Fleet, Member
from faults.recovering import STEPS
from faults.recovery import _CARDS, Recovery
from faults.restore import Restore

REFUSAL = '{"event": "stopped", "error": "the database went back in time"}'


class Scripted(Fleet):
    """A fleet whose processes say something and end."""

    says = ""
    code = 0

    def add_one(self, says: str, code: int) -> Member:
        """Start one that behaves so, now and whenever it is started again."""
        self.says, self.code = says, code
        stub: Any = type("Part", (), {"close": lambda _: None, "cut": lambda _: None})()
        member = Member("requests-0", stub, stub)
        with self._lock:
            self._start(member)
            self.members[member.name] = member
        return member

    def _start(self, member: Member) -> None:
        self.starts += 1
        program = f"import sys; print({self.says!r}); sys.exit({self.code})"
        with self._log(member).open("ab") as log:
            member.log_from = log.tell()
            member.process = subprocess.Popen([sys.executable, "-c", program], stdout=log)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Scripted]:
    parts: Any = None
    made = Scripted(parts, tmp_path / "control", tmp_path, None)
    yield made
    made.stop()


def test_whoever_refuses_a_restored_database_stays_down_until_it_is_recovered(
    fleet: Scripted,
) -> None:
    fleet.expect_refusals(expecting=True)
    fleet.add_one(REFUSAL, 3)
    wait_until(lambda: "requests-0" in fleet.refused)
    fleet.hold(kill=False)
    assert (fleet.ended, fleet.starts) == ([], 1)
    fleet.expect_refusals(expecting=False)
    fleet.resume()
    wait_until(lambda: fleet.starts > 1)


@pytest.mark.parametrize(
    ("expecting", "says", "code"),
    [
        (False, REFUSAL, 3),
        (True, "SAEC_DATABASE_URL is not like postgresql://", 3),
        (True, REFUSAL, 4),
        (True, "", 3),
    ],
)
def test_whoever_ends_otherwise_is_found(
    fleet: Scripted, says: str, code: int, *, expecting: bool
) -> None:
    fleet.expect_refusals(expecting=expecting)
    fleet.add_one(says, code)
    wait_until(lambda: bool(fleet.ended))
    assert fleet.ended[0] == f"requests-0 ended by itself with {code}"
    assert fleet.refused == {}


def test_who_is_held_is_neither_started_nor_killed(fleet: Scripted) -> None:
    fleet.add_one("", 0)
    fleet.hold(kill=True)
    starts, kills = fleet.starts, fleet.kills.total()
    fleet.kill("requests-0")
    fleet.restart("requests-0", 0.0)
    assert (fleet.starts, fleet.kills.total()) == (starts, kills)
    fleet.resume()
    wait_until(lambda: fleet.starts > starts)


COUNTS = {"requests": 5, "cancels": 2, "batches": 3, "slices": 4, "undecided": 0}
NOTHING = {"requests_read": 0, "customers_read": 0, "batches": 0, "cleared": []}


@pytest.mark.parametrize(
    ("foreseen", "report", "left", "words"),
    [
        ({}, {}, {}, None),
        ({"requests": 4}, {}, {}, None),
        ({"slices": 5}, {}, {}, "are less than was foreseen"),
        ({}, {"undecided": 1}, {}, "were decided anew"),
        ({}, {}, {"cleared": [1]}, "something was left to recover"),
    ],
)
def test_a_recovery_is_held_against_what_it_foresaw(
    foreseen: dict[str, Any], report: dict[str, Any], left: dict[str, Any], words: str | None
) -> None:
    found: list[tuple[str, str]] = []
    nobody: Any = None
    recovery = Recovery(nobody, nobody, nobody, found)
    recovery._check(COUNTS | foreseen, COUNTS | report, NOTHING | left, interrupted=False)
    assert [kind for kind, _ in found] == ["recoveries failed"] * (words is not None)
    assert words is None or words in found[0][1]


def test_the_steps_of_a_recovery_can_be_struck() -> None:
    assert {card.partition("/")[0] for card in _CARDS} == {*STEPS}


def test_time_is_counted_without_restores(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody: Any = None
    monkeypatch.setattr(restoring, "_now_ms", lambda: 100_000)
    made = Restore(nobody, nobody, nobody, threading.Event(), threading.Lock())
    assert made.since_ms(60_000) == 40_000
    made.times_ms = [(5_000, 8_000), (20_000, 50_000), (80_000, 90_000)]
    assert made.since_ms(10_000) == 90_000
    assert made.since_ms(40_000) == 50_000
    assert made.since_ms(50_000) == 10_000
    assert made.since_ms(60_000) == -3_000
    made.calm.clear()
    made._began_ms = 95_000
    assert made.since_ms(5_000) == 90_000
