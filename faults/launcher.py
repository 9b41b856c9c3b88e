"""Starts one SAEC process with its step functions patched: `python -m faults.launcher ROLE NAME`.

At each step, before and after, the process asks the harness what to do: go on, die, stop, hang, or
step its clock. Invariant: SAEC's own code is the one that runs; only calls are wrapped, and a
mutation is patched in only when it is named.
"""

import functools
import importlib
import os
import runpy
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from faults import mutations
from faults.steps import BASE, INNER, MODULES

CONTROL = "FAULTS_CONTROL"
MUTATION = "FAULTS_MUTATION"


class Steps:
    """This process's line to the harness, and the base step it is in."""

    def __init__(self, name: str, path: str) -> None:
        self._lock = threading.Lock()
        self._base = threading.local()
        self._clock_s, self._clock_until_s = 0.0, 0.0
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._line = self._socket.makefile("rw", buffering=1)
        self._ask(f"hello {name} {os.getpid()}")
        now_s, now_ns = time.time, time.time_ns
        # What the process takes for the time of day.
        time.time = lambda: now_s() + self._off_s()
        time.time_ns = lambda: now_ns() + int(self._off_s() * 1_000_000_000)

    def patch(self, name: str, target: str, *, inner: bool) -> None:
        """Wrap the function that is a step."""
        owner, attribute, function = find(target)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            return self._pass(name, inner, functools.partial(function, *args, **kwargs))

        setattr(owner, attribute, wrapped)

    def _pass(self, name: str, inner: bool, call: Callable[[], Any]) -> Any:  # noqa: FBT001
        if inner:
            name = f"{getattr(self._base, 'name', 'none')}/{name}"
        else:
            self._base.name = name
        self._obey(self._ask(f"before {name}"))
        result = call()
        self._obey(self._ask(f"after {name}"))
        return result

    def _ask(self, question: str) -> str:
        with self._lock:
            try:
                self._line.write(question + "\n")
                return self._line.readline().strip() or "die"
            except OSError:
                return "die"  # the harness is gone

    def _obey(self, command: str) -> None:
        verb, _, value = command.partition(" ")
        if verb == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif verb == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif verb == "hang":
            time.sleep(float(value))
        elif verb == "clock":
            seconds, lasts_s = map(float, value.split())
            self._clock_s, self._clock_until_s = seconds, time.monotonic() + lasts_s

    def _off_s(self) -> float:
        return self._clock_s if time.monotonic() < self._clock_until_s else 0.0


def find(target: str) -> tuple[Any, str, Any]:
    """What "module:attribute" names: its owner, the attribute's name, and the function."""
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, attribute = path.split(".")
    for name in outer:
        owner = getattr(owner, name)
    return owner, attribute, getattr(owner, attribute)


def main(role: str, name: str) -> None:
    """Patch, then run the process as it is run in production."""
    mutation = os.environ.get(MUTATION)
    if mutation:
        mutations.apply(mutation)
    steps = Steps(name, os.environ[CONTROL])
    for step, target in BASE[role].items():
        steps.patch(step, target, inner=False)
    for step, target in INNER.items():
        steps.patch(step, target, inner=True)
    sys.argv = [MODULES[role]]
    runpy.run_module(MODULES[role], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
