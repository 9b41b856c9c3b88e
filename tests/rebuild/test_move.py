"""The move to another database, with the installation at work for as long as can be."""

from collections.abc import Callable
from pathlib import Path

import pytest

from saec import installation
from saec.errors import ConfigurationError
from saec.recover.rebuild import Choices, rebuild
from saec.settings import Settings
from tests.recover.test_survival import Story, recover_when_quiet
from tests.survival.processes import Fleet
from tests.survival.run import register

REQUESTS = 400


@pytest.mark.timeout(900)
def test_everything_goes_out_once(
    make_installation: Callable[..., Settings], new_database: Callable[[], str], tmp_path: Path
) -> None:
    settings = make_installation(shards=8, partitions=4)
    moved = settings.model_copy(update={"database_url": new_database()})
    log, said = tmp_path / "processes.log", list[str]()
    with log.open("wb") as output:
        story = Story(settings, output, seed=2)
        story.fleet.start()
        try:
            register(settings, story.customers)
            story.ask(REQUESTS, lead_s=3.0, seconds=12.0)
            story.wait(6.0)
            report = rebuild(settings, moved.database_url, Choices(), said.append, dry_run=False)
            assert report.requests == REQUESTS
            assert report.slices > 0
            story.ask(REQUESTS, lead_s=1.0, seconds=12.0)
            story.wait(3.0)
            died = story.fleet.died()
            assert set(story.fleet.stop()) == {0}
            with pytest.raises(ConfigurationError, match="run `saec recover`"):
                installation.check(moved)
            story.ask(REQUESTS, lead_s=2.0, seconds=10.0)  # they keep arriving
            recovered = recover_when_quiet(moved, said)
            assert recovered.halted == {}
            assert recovered.slices > 0
            story.fleet = Fleet(moved, output)
            story.fleet.start()
            verdict = story.verdict()
            died += story.fleet.died()
        finally:
            codes = story.fleet.stop()
    assert verdict.ok, f"{verdict}\n{log.read_text()[-10_000:]}"
    assert (died, set(codes)) == ([], {0})
    assert verdict.requests == 3 * REQUESTS
    assert verdict.cancelled > 0
