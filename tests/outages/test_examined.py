"""What `saec doctor` finds in parts that really are so, and that no other test may touch."""

import signal
from collections.abc import Callable

import pytest

from saec.cli.instants import wall_ms
from saec.doctor.examine import examine
from saec.settings import Settings
from tests.outages.grounds import Grounds, wait_until


@pytest.fixture(scope="module")
def settings(ruin: Callable[..., Settings]) -> Settings:
    """One installation."""
    return ruin(shards=2, partitions=1)


def found(settings: Settings, check: str) -> list[tuple[str, str, bool]]:
    """What one check says: (level, what was found, whether it says what to do)."""
    findings = examine(settings, wall_ms, wait_s=0).findings
    return [(str(f.level), f.found, bool(f.advice)) for f in findings if f.check == check]


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
def test_a_server_that_may_lose_what_it_committed(
    setting: str, settings: Settings, grounds: Grounds
) -> None:
    check, stack = "postgresql_settings", grounds.stack
    # The server of the tests does without, for speed; so it is turned on first.
    for on in ("fsync", "full_page_writes"):
        stack.sql(f"ALTER SYSTEM SET {on} = on")
    stack.sql("SELECT pg_reload_conf()")
    try:
        wait_until(lambda: [level for level, _, _ in found(settings, check)] == ["ok"])
        stack.sql(f"ALTER SYSTEM SET {setting} = off")
        stack.sql("SELECT pg_reload_conf()")
        says = [("error", f"{setting} is off, so a commit can be lost in a crash", True)]
        wait_until(lambda: found(settings, check) == says)
    finally:
        for on in ("fsync", "full_page_writes"):
            stack.sql(f"ALTER SYSTEM RESET {on}")
        stack.sql("SELECT pg_reload_conf()")


def test_a_standby(settings: Settings, grounds: Grounds) -> None:
    with grounds.standby(takes_connections=True):
        assert ("error", "it is a standby, or read-only", True) in found(
            settings, "postgresql_settings"
        )


def test_a_server_that_lets_nobody_in(settings: Settings, grounds: Grounds) -> None:
    with grounds.standby(takes_connections=False):
        ((level, said, advised),) = found(settings, "postgresql")
    assert (level, "not accepting connections" in said, advised) == ("error", True, True)


def test_parts_that_were_killed(settings: Settings, grounds: Grounds) -> None:
    grounds.kill_postgres(signal.SIGKILL)
    try:
        report = examine(settings, wall_ms, wait_s=0)
    finally:
        grounds.start_postgres()
    assert report.unreachable
    assert {f.check: f.level for f in report.findings}["postgresql"] == "error"
    assert all(f.advice for f in report.findings if f.level != "ok")
