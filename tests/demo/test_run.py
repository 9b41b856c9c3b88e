"""A small demo on real parts, and that its verdict notices what was tampered with."""

import io
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from faults.parts import wait_until
from saec.clock import SystemClock
from saec.contracts.events import Channel
from saec.demo import topics
from saec.demo.by_http import HttpRequester
from saec.demo.run import perform
from saec.demo.scenario import Plan, registry, scenario
from saec.demo.screen import Screen
from saec.http.endpoint import KEY_HEADER
from saec.kafka.follow import Beginning, read_whole
from saec.kafka.publish import publish
from saec.kafka.records import Outgoing
from saec.settings import Settings
from saec.supervise.endpoint import free_port
from saec.supervise.machine import Machine
from saec.supervise.supervisor import Supervisor
from tests.cli.conftest import environment

PLAN = Plan(customers=40, singles=20, span_ms=1_500, lead_ms=1_000)


@pytest.fixture
def machine(
    installation: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Machine]:
    """The processes, on the test's own installation."""
    port = free_port(installation.http_host, 0)
    for name, value in (environment(installation) | {"SAEC_HTTP_PORT": str(port)}).items():
        monkeypatch.setenv(name, value)
    variables = dict(os.environ)
    processes = Supervisor(variables, tmp_path, SystemClock(), lambda _: None)
    processes.start()
    yield Machine(installation, processes, f"http://127.0.0.1:{port}")
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
    assert (
        f"1 request by HTTP is answered 201 ACCEPTED; while this runs, {machine.http_url}" in shown
    )
    assert _came_by_http(machine.settings) == 1
    _a_copy_is_noticed(machine.settings)


def test_without_the_endpoint_all_is_published(machine: Machine) -> None:
    console = Console(file=io.StringIO(), width=100)
    verdict = perform(replace(machine, http_url=None), PLAN, Screen(console))
    assert verdict.ok
    assert _came_by_http(machine.settings) == 0


def test_an_endpoint_that_refuses_is_told(machine: Machine) -> None:
    """Of another requester's key."""
    assert machine.http_url is not None
    requester = HttpRequester(machine.settings, machine.http_url, "somebody-else")
    wait_until(requester.is_let_in)
    made = scenario(PLAN, registry(PLAN), start_ms=time.time_ns() // 1_000_000)
    assert requester.answer_to(made.requests[0]) == "403 other_requester"
    machine.processes.stop()
    assert not requester.is_let_in()
    assert requester.answer_to(made.requests[0]) == "NewConnectionError"


def _came_by_http(settings: Settings) -> int:
    """How many requests the endpoint published."""
    published = read_whole(settings, [settings.topics.requests], Beginning())
    return sum(KEY_HEADER in dict(record.headers or ()) for record in published)


def _a_copy_is_noticed(settings: Settings) -> None:
    """Reading back counts what stands in the topics, not what SAEC believes."""
    sms = settings.topics.dispatch[Channel.SMS]
    before = len(topics.read_back(settings).messages)
    record = next(read_whole(settings, [sms], Beginning()))
    copy = Outgoing(sms, record.value, record.key, [])
    assert publish(settings, [copy]).failures == []
    assert len(topics.read_back(settings).messages) == before + 1
