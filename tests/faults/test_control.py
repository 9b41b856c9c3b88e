"""A trap is sprung once, by the first process of its role that comes to its step."""

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.control import Control, Trap
from faults.schedule import Deck
from faults.steps import REQUIRED


@pytest.fixture
def control() -> Iterator[Control]:
    with tempfile.TemporaryDirectory(prefix="saec-") as directory:  # a short path for a socket
        made = Control(Path(directory) / "control")
        yield made
        made.close()


class Process:
    """What the launcher is to the harness."""

    def __init__(self, control: Control, name: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(control.path))
        self._line = self._socket.makefile("rw", buffering=1)
        assert self.asks(f"hello {name} 1") == "go"

    def asks(self, question: str) -> str:
        self._line.write(question + "\n")
        return self._line.readline().strip()

    def close(self) -> None:
        self._line.close()
        self._socket.close()


def test_a_trap_catches_one_process_of_its_role_at_its_step(control: Control) -> None:
    caught: list[str] = []
    trap = control.arm(Trap(("dispatch", "emit/commit"), "after", "die", caught.append))
    consumer, worker = Process(control, "requests-0"), Process(control, "dispatch-1")
    assert consumer.asks("after emit/commit") == "go"
    assert worker.asks("before emit/commit") == "go"
    assert not trap.hit.is_set()
    assert worker.asks("after emit/commit") == "die"
    assert (caught, trap.by, trap.hit.is_set()) == (["dispatch-1"], "dispatch-1", True)
    assert worker.asks("after emit/commit") == "go"
    assert control.struck[("dispatch", "emit/commit")] == 1
    assert control.passed[("dispatch", "emit/commit")] == 3
    consumer.close()
    worker.close()


def test_a_trap_that_is_disarmed_catches_nobody(control: Control) -> None:
    trap = control.arm(Trap(("requests", "store"), "before", "die"))
    control.disarm(trap)
    consumer = Process(control, "requests-0")
    assert consumer.asks("before store") == "go"
    consumer.close()


def test_a_deck_deals_each_step_before_any_comes_again() -> None:
    steps = [step for step in REQUIRED if step[0] == "dispatch"]
    deck = Deck("7", steps)
    first = [deck.draw() for _ in steps]
    assert sorted(step for step, _ in first) == sorted(steps)
    second = [deck.draw() for _ in steps]
    assert {*first, *second} == {(step, when) for step in steps for when in ("before", "after")}
    deck.put_back(first[0])
    assert first[0] in [deck.draw() for _ in range(3)]
    assert [Deck("7", steps).draw() for _ in range(1)] == first[:1]
