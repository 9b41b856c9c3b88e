"""Looks at every state of a model, in the order of the number of steps that lead to it.

Invariant: the first violation found is one with the fewest steps; a search that found none has
looked at every state within the scope, and from each of them a good end can still be reached.
"""

import gc
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol


class Model(Protocol):
    """What can be searched. States are hashable, and carry what is `wrong` with them."""

    first: Any

    def canonical(self, state: Any) -> Any:
        """The one state that stands for all that differ in names only."""
        ...

    def free(self, state: Any) -> Iterator[tuple[Any, Any]]:
        """What needs no fault to happen: label, next state."""
        ...

    def faults(self, state: Any) -> Iterator[tuple[Any, Any]]:
        """What goes wrong: label, next state."""
        ...

    def quiet(self, state: Any) -> str:
        """What is wrong with a state in which nothing happens any more."""
        ...


@dataclass(frozen=True)
class Found:
    """What a search found. `trace` is empty when no promise was broken; `depth` is in steps."""

    states: int
    transitions: int
    depth: int
    seconds: float
    wrong: str = ""
    trace: list[Any] = field(default_factory=list)


def search(model: Model) -> Found:
    """Breadth first, until a promise is broken or nothing is left."""
    collecting = gc.isenabled()
    gc.disable()  # nothing here is cyclic, and collections would take half of the time
    try:
        return _search(model)
    finally:
        if collecting:
            gc.enable()


def _search(model: Model) -> Found:
    began_s = time.perf_counter()
    walk = _Walk(model)
    at = 0
    while at < len(walk.order):
        if wrong := walk.visit(at):
            return walk.found(at, began_s, wrong)
        at += 1
    if (stuck := walk.stuck()) is not None:
        return walk.found(stuck, began_s, "from here on it can never come to a good end")
    return walk.found(None, began_s)


class _Walk:
    """The states known so far, in the order in which they were reached, and how."""

    def __init__(self, model: Model) -> None:
        self._model = model
        first = model.canonical(model.first)
        self._known = {first: 0}
        self.order = [first]
        self._parents = array("q", [-1])
        self._from, self._to = array("L"), array("L")  # the steps that need no fault
        self._ends: list[int] = []
        self._transitions = 0

    def visit(self, at: int) -> str:
        """Look at a state and at what follows it; what is wrong with it."""
        state = self.order[at]
        if state.wrong:
            return str(state.wrong)
        quiet = True
        for _, following in self._model.free(state):
            self._from.append(at)
            self._to.append(self._reach(at, following))
            quiet = False
        for _, following in self._model.faults(state):
            self._reach(at, following)
        if not quiet:
            return ""
        self._ends.append(at)
        return self._model.quiet(state)

    def _reach(self, at: int, following: Any) -> int:
        self._transitions += 1
        reached = self._model.canonical(following)
        found = self._known.setdefault(reached, len(self.order))
        if found == len(self.order):
            self._parents.append(at)
            self.order.append(reached)
        return found

    def stuck(self) -> int | None:
        """The first state from which, without more faults, no quiet state can be reached."""
        good = bytearray(len(self.order))
        for end in self._ends:
            good[end] = 1
        before = -1
        while before != (before := good.count(1)):
            # Most steps lead to states that were reached later, so few passes are needed.
            for source, target in zip(reversed(self._from), reversed(self._to), strict=True):
                if good[target]:
                    good[source] = 1
        bad = good.find(0)
        return None if bad < 0 else bad

    def found(self, at: int | None, began_s: float, wrong: str = "") -> Found:
        """The answer; with the way to the state `at`."""
        path = self._path(len(self.order) - 1 if at is None else at)
        trace = [] if at is None else retrace(self._model, path)
        seconds = time.perf_counter() - began_s
        states = len(self.order)
        return Found(states, self._transitions, len(path) - 1, seconds, wrong, trace)

    def _path(self, at: int) -> list[Any]:
        path = []
        while at >= 0:
            path.append(self.order[at])
            at = self._parents[at]
        return path[::-1]


def retrace(model: Model, path: list[Any]) -> list[Any]:
    """The labels along a path of canonical states, with names and numbers as they really were."""
    state, labels = model.first, []
    for wanted in path[1:]:
        steps = chain(model.free(state), model.faults(state))
        found = next((step for step in steps if model.canonical(step[1]) == wanted), None)
        if found is None:
            raise AssertionError("a canonical state does not stand for the states it replaces")
        labels.append(found[0])
        state = found[1]
    return labels
