"""Runs the demo: starts the parts, submits the scenario, watches, judges.

Invariant: the verdict comes from a second reading of the topics, after the processes have stopped,
so that nothing can be added behind its back.
"""

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from saec.contracts.events import ScheduleRequested
from saec.demo import topics, wire
from saec.demo.expected import Expected, expect
from saec.demo.scenario import BILLING, Plan, registry, scenario
from saec.demo.screen import Screen
from saec.demo.tally import Tally
from saec.demo.verdict import Verdict, judge
from saec.errors import BrokerUnavailableError, SaecError
from saec.kafka.follow import Beginning, Follower
from saec.kafka.publish import publish
from saec.kafka.records import Outgoing
from saec.settings import Settings
from saec.store import history, shards
from saec.store.engine import open_engine, transaction
from saec.supervise.machine import Machine, running

if TYPE_CHECKING:
    from saec.demo.by_http import HttpRequester

READY_TIMEOUT_S = 30.0
LATEST_MS = 20_000
_POLL_S = 0.02
_PAUSE_S = 0.1
_ANY_PORT = 0
_KEPT_VARIABLES = ("SAEC_CACHE_DIR", "SAEC_MAVEN_URL")


class DemoError(SaecError):
    """The demo could not be run to its end."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """What was published, and what must come of it."""

    expected: Expected
    start_ms: int


def run_demo(screen: Screen) -> Verdict:
    """The whole demo, in a temporary directory that is gone afterwards.

    Raises:
        DemoError: a process ended, or did not get ready.
        SaecError: a part could not be started or does not answer.
    """
    with ExitStack() as stack:
        directory = tempfile.TemporaryDirectory(prefix="saec-demo-", ignore_cleanup_errors=True)
        data_dir = Path(stack.enter_context(directory))
        began_s = time.monotonic()
        # The defaults: settings in the environment belong to another installation.
        settings = Settings.model_construct(http_port=_ANY_PORT)
        machine = stack.enter_context(running(settings, _environment(), data_dir, screen.note))
        screen.step("Kafka and PostgreSQL run, topics and tables are made", _since(began_s))
        return perform(machine, Plan(), screen)


def perform(machine: Machine, plan: Plan, screen: Screen) -> Verdict:
    """Submit, watch, stop the processes, read back, judge."""
    submitted = _submit(machine, plan, screen)
    _watch(machine, submitted, screen)
    machine.processes.stop()
    reading = topics.read_back(machine.settings)
    verdict = judge(submitted.expected, reading.messages, reading.statuses, reading.unreadable)
    if not verdict.ok:
        screen.note(machine.processes.log_tail())
    return verdict


def _environment() -> dict[str, str]:
    """This one's, without settings of SAEC that belong to another installation."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SAEC_") or name in _KEPT_VARIABLES
    }


def _submit(machine: Machine, plan: Plan, screen: Screen) -> Submitted:
    settings = machine.settings
    began_s = time.monotonic()
    people = registry(plan)
    requester = _requester_by_http(machine)
    _publish(settings, [wire.customer(settings.topics, person) for person in people])
    _wait_until(machine, lambda: _is_ready(settings, len(people)) and _is_let_in(requester))
    screen.step(
        f"{len(people):,} customers are registered, every process is ready", _since(began_s)
    )
    began_s = time.monotonic()
    start_ms = _now_ms() + plan.lead_ms
    made = scenario(plan, people, start_ms)
    asked = (*made.requests, *made.repeated, *made.refused)
    if requester is not None:
        _schedule_by_http(requester, asked[0], screen)
    to_publish = asked if requester is None else asked[1:]
    _publish(settings, [wire.schedule(settings.topics, request) for request in to_publish])
    _publish(settings, [wire.cancel(settings.topics, cancel) for cancel in made.cancels])
    expected = expect(made)
    screen.step(
        f"{len(asked):,} requests for {len(expected.messages):,} messages are published, and "
        f"{len(made.cancels)} cancel; the first is due in {(start_ms - _now_ms()) / 1000:.0f} s",
        _since(began_s),
    )
    return Submitted(expected, start_ms)


def _requester_by_http(machine: Machine) -> "HttpRequester | None":
    """One with a key of their own; None without the endpoint."""
    if machine.http_url is None:
        return None
    from saec.demo.by_http import HttpRequester  # noqa: PLC0415 - part of an extra

    return HttpRequester(machine.settings, machine.http_url, BILLING)


def _is_let_in(requester: "HttpRequester | None") -> bool:
    return requester is None or requester.is_let_in()


def _schedule_by_http(
    requester: "HttpRequester", request: ScheduleRequested, screen: Screen
) -> None:
    began_s = time.monotonic()
    answer = requester.answer_to(request)
    if answer != "201 ACCEPTED":
        raise DemoError(f"the HTTP endpoint answered a request with {answer}, not 201 ACCEPTED")
    screen.step(
        f"1 request by HTTP is answered {answer}; while this runs, {requester.docs_url} shows "
        "every call",
        _since(began_s),
    )


def _publish(settings: Settings, records: list[Outgoing]) -> None:
    delivery = publish(settings, records)
    if delivery.failures:
        raise BrokerUnavailableError(f"publishing: {delivery.failures[0].why}")


def _is_ready(settings: Settings, customers: int) -> bool:
    """True when the registry is stored and every shard has a worker."""
    engine = open_engine(settings.database_url, application="saec-demo")
    try:
        with transaction(engine) as connection:
            owners = shards.look(connection, range(settings.shards))
            stored = history.count_customers(connection)
    finally:
        engine.dispose()
    return stored == customers and all(seen.owner for seen in owners.values())


def _wait_until(machine: Machine, ready: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while not ready():
        if machine.processes.tend() or time.monotonic() > deadline_s:
            raise DemoError(
                f"SAEC's processes did not get ready; their logs end so:\n"
                f"{machine.processes.log_tail()}"
            )
        time.sleep(_PAUSE_S)


def _watch(machine: Machine, submitted: Submitted, screen: Screen) -> None:
    """Show what arrives, until all is there or it is clear that it will not come."""
    settings, tally = machine.settings, Tally(submitted.expected)
    give_up_ms = submitted.expected.last_due_ms + LATEST_MS
    with (
        Follower(settings, topics.names(settings.topics), Beginning()) as follower,
        screen.live() as view,
    ):
        while not tally.complete and _now_ms() < give_up_ms:
            records = follower.poll(_POLL_S)
            arrived_ms = _now_ms()
            tally.add(topics.decode(settings.topics, records), arrived_ms)
            machine.processes.tend()
            view.show(tally, (_now_ms() - submitted.start_ms) / 1000)


def _since(began_s: float) -> float:
    return time.monotonic() - began_s


def _now_ms() -> int:
    """This machine's clock, rounded down: what is early looks no later than it is."""
    return time.time_ns() // 1_000_000
