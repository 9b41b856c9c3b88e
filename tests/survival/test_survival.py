"""Processes are killed while messages come due; nothing is lost, doubled, early or contradicted.

A small run; `python -m tests.survival.run` does the large one.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from saec.settings import Settings
from tests.survival.run import Plan, survive

PLAN = Plan(seed=1, requests=1_500, seconds=8.0, kill_every_s=2.0)


@pytest.mark.timeout(900)
def test_whoever_is_killed_each_message_goes_out_once(
    make_installation: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = make_installation(shards=8, partitions=4)
    log = tmp_path / "processes.log"
    verdict = survive(settings, PLAN, log, say=print)
    assert verdict.ok, f"{PLAN}\n{verdict}\n{log.read_text()[-20_000:]}"
    assert verdict.requests == PLAN.requests
    assert verdict.cancelled > 0
    assert verdict.dispatched > PLAN.requests
