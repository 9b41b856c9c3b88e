"""A small demo on real parts, and that its verdict notices what was tampered with."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from saec.clock import SystemClock
from saec.contracts.events import Channel
from saec.demo import topics
from saec.demo.run import perform
from saec.demo.scenario import Plan
from saec.demo.screen import Screen
from saec.kafka.follow import Beginning, read_whole
from saec.kafka.publish import publish
from saec.kafka.records import Outgoing
from saec.settings import Settings
from saec.supervise.machine import Machine
from saec.supervise.supervisor import Supervisor
from tests.cli.conftest import environment

PLAN = Plan(customers=40, singles=20, span_ms=1_500, lead_ms=1_000)


@pytest.fixture
def machine(
    installation: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Machine]:
    """The processes, on the test's own installation."""
    for name, value in environment(installation).items():
        monkeypatch.setenv(name, value)
    variables = dict(os.environ)
    processes = Supervisor(variables, tmp_path, SystemClock(), lambda _: None)
    processes.start()
    yield Machine(installation, processes)
    processes.stop()


def test_a_small_demo_is_ok(machine: Machine) -> None:
    console = Console(file=io.StringIO(), width=100)
    screen = Screen(console)
    verdict = perform(machine, PLAN, screen)
    screen.verdict(verdict)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert verdict.ok, shown
    assert "OK" in shown
    assert "EMAIL" in shown
    assert machine.processes.pids == {}
    _a_copy_is_noticed(machine.settings)


def _a_copy_is_noticed(settings: Settings) -> None:
    """Reading back counts what stands in the topics, not what SAEC believes."""
    sms = settings.topics.dispatch[Channel.SMS]
    before = len(topics.read_back(settings).messages)
    record = next(read_whole(settings, [sms], Beginning()))
    copy = Outgoing(sms, record.value, record.key, [])
    assert publish(settings, [copy]).failures == []
    assert len(topics.read_back(settings).messages) == before + 1
