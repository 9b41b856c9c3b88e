"""A clock of PostgreSQL's that is ahead of the worker's: nothing goes out until they agree."""

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs

from saec.clock import SystemClock
from saec.contracts.events import Channel
from saec.contracts.status import Status
from saec.dispatch import round as rounds
from saec.dispatch.round import Worker
from saec.dispatch.skew import ClockAheadError, Skew
from saec.store.engine import open_engine
from tests.dispatch.kit import Installed
from tests.dispatch.test_suspended import MovedClock
from tests.dispatch.test_worker import abandon, drive, take_all

HOUR_S = 3_600
HOUR_MS = HOUR_S * 1_000


class MovedTime(SystemClock):
    """A machine whose time of day is off by what the test says."""

    off_ms = 0

    def wall_ms(self) -> int:
        """Wrong."""
        return super().wall_ms() + self.off_ms


class Site:
    """An installation, and a worker that finds a clock in PostgreSQL which the test moves."""

    def __init__(self, installed: Installed) -> None:
        self.installed = installed
        self.clock = MovedTime()
        # Found before PostgreSQL's own by whoever looks there first: the worker, and not the kit.
        installed.execute(
            """
            CREATE SCHEMA moved;
            CREATE TABLE moved.clock AS SELECT interval '0' AS ahead;
            CREATE FUNCTION moved.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
                AS 'SELECT pg_catalog.clock_timestamp() + ahead FROM moved.clock'
            """
        )
        url = installed.settings.database_url
        search = quote("-csearch_path=moved,pg_catalog,public")
        self.url = f"{url}{'&' if '?' in url else '?'}options={search}"
        self.engine = open_engine(self.url)
        self.worker = self.new_worker()

    def new_worker(self) -> Worker:
        """A worker on this clock."""
        settings = self.installed.settings.model_copy(update={"database_url": self.url})
        return Worker(settings, self.engine, self.clock)

    def move(self, seconds: int) -> None:
        """Set PostgreSQL's clock so far ahead of the true time."""
        self.installed.execute(f"UPDATE moved.clock SET ahead = interval '{seconds} s'")

    def looks(self, times: int = 3) -> None:
        """Let the worker ask for the time so often, and go on from what it hears."""
        seen: list[int] = []
        tolerates = self.worker._skew.tolerates

        def counted(stored_ms: int) -> bool:
            seen.append(stored_ms)
            return tolerates(stored_ms)

        self.worker._skew.tolerates = counted  # type: ignore[method-assign]
        drive(self.worker, until=lambda: len(seen) >= times)
        del self.worker._skew.tolerates


@pytest.fixture
def site(installed: Installed) -> Iterator[Site]:
    """The site."""
    made = Site(installed)
    with closing(made.worker):
        yield made
    made.engine.dispose()


def events(said: list[Any]) -> list[tuple[str, str]]:
    return [(str(line["log_level"]), str(line["event"])) for line in said]


def ask_for_later(installed: Installed) -> None:
    """What is due in an hour, and what would have expired by a clock two hours ahead."""
    for shard in installed.shards:
        installed.ask(due_in_ms=HOUR_MS, shard=shard)
        installed.ask(
            due_in_ms=HOUR_MS, shard=shard, expires_at=installed.now_ms() + HOUR_MS + HOUR_MS // 2
        )


def assert_nothing_left(site: Site) -> None:
    assert site.installed.dispatched() == []
    assert site.installed.statuses() == []
    assert site.installed.pending() == len(site.installed.asked)
    assert site.installed.claims() == 0


def test_a_clock_that_jumps_ahead_under_a_worker_sends_nothing_and_expires_nothing(
    site: Site,
) -> None:
    take_all(site.worker, site.installed)
    ask_for_later(site.installed)
    site.looks()
    assert site.worker.waits is None
    with capture_logs() as said:
        site.move(2 * HOUR_S)
        drive(site.worker, until=lambda: site.worker.waits is not None)
        site.looks()
    assert_nothing_left(site)
    assert events(said) == [("error", "clocks disagree")]
    assert 7_190 < said[0]["ahead_s"] <= 7_200
    assert said[0]["bound_s"] == 60
    assert said[0]["postgresql"] > said[0]["here"]
    assert said[0]["next"] == "docs/operations.md, Clocks that disagree"
    words = "waits for the clocks to agree: PostgreSQL's clock is 7,200 s ahead of this machine's"
    assert site.worker.waits == words
    assert site.worker.trouble is None

    now = site.installed.ask()
    with capture_logs() as said:
        site.move(0)
        drive(site.worker, until=lambda: site.worker.waits is None and not site.installed.claims())
        drive(
            site.worker,
            until=lambda: site.installed.pending() == len(site.installed.asked) - 1,
        )
    assert ("info", "clocks agree again") in events(said)
    assert site.installed.sent() == {(now, "EMAIL", "ana"): 1}


def test_who_takes_over_while_the_clock_is_ahead_settles_and_sends_nothing(site: Site) -> None:
    """What a worker left behind is applied, so that cancels are answered as they are otherwise."""
    take_all(site.worker, site.installed)
    sent = site.installed.ask()
    drive(site.worker, until=lambda: bool(site.worker._belief and site.worker._belief.finished))
    abandon(site.worker)
    site.move(2 * HOUR_S)
    site.worker = site.new_worker()
    with closing(site.worker):
        ask_for_later(site.installed)
        with capture_logs() as said:
            take_all(site.worker, site.installed)
            drive(site.worker, until=lambda: site.worker.waits is not None)
            site.looks()
        assert events(said).count(("error", "clocks disagree")) == 1
        assert site.installed.sent() == {(sent, "EMAIL", "ana"): 1}
        assert site.installed.pending() == len(site.installed.asked) - 1
        before = site.installed.pending()
        assert site.installed.cancel(site.installed.asked[-1]).status is Status.CANCELLED
        assert site.installed.pending() == before - 1
        now = site.installed.ask()
        site.move(0)
        drive(site.worker, until=lambda: len(site.installed.sent()) == 2)
        assert site.installed.sent()[now, "EMAIL", "ana"] == 1


def test_a_worker_whose_own_clock_is_behind_waits_and_the_others_go_on(site: Site) -> None:
    site.clock.off_ms = -HOUR_MS
    take_all(site.worker, site.installed)
    due = site.installed.ask()
    drive(site.worker, until=lambda: site.worker.waits is not None)
    site.looks()
    assert_nothing_left(site)
    site.worker.close()
    site.clock.off_ms = 0
    site.worker = site.new_worker()
    with closing(site.worker):
        drive(site.worker, until=lambda: site.installed.pending() == 0)
    assert site.installed.sent() == {(due, "EMAIL", "ana"): 1}


def test_a_worker_goes_on_where_its_own_clock_is_put_right(site: Site) -> None:
    due = site.installed.ask()
    site.clock.off_ms = -HOUR_MS
    drive(site.worker, until=lambda: site.worker.waits is not None)
    assert_nothing_left(site)
    site.clock.off_ms = 0
    drive(site.worker, until=lambda: site.installed.pending() == 0)
    assert site.worker.waits is None
    assert site.installed.sent() == {(due, "EMAIL", "ana"): 1}


def test_a_clock_behind_the_worker_s_only_makes_late(site: Site) -> None:
    site.clock.off_ms = HOUR_MS
    site.installed.ask()
    drive(site.worker, until=lambda: site.installed.pending() == 0)
    assert site.worker.waits is None


def test_a_clock_that_jumps_between_claim_and_read_lets_nothing_expire(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_all(site.worker, site.installed)
    read = rounds.read_claimed
    jumped = threading.Event()

    def jump_first(*args: Any) -> Any:
        if not jumped.is_set():
            jumped.set()
            site.move(2 * HOUR_S)
        return read(*args)

    monkeypatch.setattr(rounds, "read_claimed", jump_first)
    due = site.installed.ask(expires_at=site.installed.now_ms() + HOUR_MS)
    drive(site.worker, until=jumped.is_set)
    drive(site.worker, until=lambda: bool(site.worker.owned) and site.worker.waits is not None)
    site.looks()
    assert_nothing_left(site)
    site.move(0)
    drive(site.worker, until=lambda: site.installed.pending() == 0)
    assert site.installed.sent() == {(due, "EMAIL", "ana"): 1}
    assert site.installed.statuses() == []


def test_what_kafka_refused_is_not_taken_for_accepted_meanwhile(site: Site) -> None:
    take_all(site.worker, site.installed)
    refusals = site.worker._refusals
    refusals._add({"channel": "EMAIL", "why": "for a test"}, (Channel.EMAIL.bit, 0), None)
    refusals._apart[0].again_s = 0.0
    site.move(2 * HOUR_S)
    with capture_logs() as said:
        drive(site.worker, until=lambda: site.worker.waits is not None)
        site.looks()
    assert "Kafka takes it again" not in {line["event"] for line in said}
    assert refusals.apart is not None


class Wall(MovedClock):
    """A clock of which the test also says what the time of day is."""

    def wall_ms(self) -> int:
        """The same, in another unit."""
        return int(self.now_s * 1000)


@pytest.mark.parametrize(
    ("ahead_ms", "tolerated"), [(-HOUR_MS, True), (0, True), (60_000, True), (60_001, False)]
)
def test_the_bound(ahead_ms: int, *, tolerated: bool) -> None:
    clock = Wall()
    skew = Skew(clock, 60)
    assert skew.tolerates(clock.wall_ms() + ahead_ms) == tolerated
    assert (skew.waits is None, skew.pause_s == 0) == (tolerated, tolerated)
    if not tolerated:
        with pytest.raises(ClockAheadError, match=r"^PostgreSQL's clock is 60 s ahead"):
            skew.check(clock.wall_ms() + ahead_ms)


def test_it_is_told_at_first_sight_every_ten_minutes_and_when_it_is_over() -> None:
    clock = Wall()
    skew = Skew(clock, 60)

    def told(seconds: int, ahead_ms: int) -> list[tuple[str, str]]:
        with capture_logs() as said:
            for _ in range(seconds):
                clock.now_s += 1
                skew.tolerates(clock.wall_ms() + ahead_ms)
                skew.tell()
        return events(said)

    disagree, agree = ("error", "clocks disagree"), ("info", "clocks agree again")
    assert told(3, 0) == []
    assert told(600, HOUR_MS) == [disagree]
    assert told(1, HOUR_MS) == [disagree]
    assert told(3, 0) == [agree]
    assert told(1, HOUR_MS) == [disagree]
    skew.forget()
    assert skew.waits is None
    assert told(1, 0) == []
