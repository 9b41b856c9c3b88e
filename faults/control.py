"""The harness's end of the line to each process: what happens at which step.

Owns the traps that are armed and what each step was hit by. Invariant: a trap is sprung once, by
the first process of its role that comes to its step.
"""

import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Step = tuple[str, str]
"""Role and name of a step."""


def _nothing(_: str) -> None:
    """Nothing else happens when the trap is sprung."""


@dataclass(eq=False)
class Trap:
    """What is to happen to whoever comes to a step: `command` is what the launcher obeys.

    `on_hit` is called with the process's name before it gets its command.
    """

    step: Step
    when: str
    command: str
    on_hit: Callable[[str], None] = _nothing
    hit: threading.Event = field(default_factory=threading.Event)
    by: str = ""


class Control:
    """Listens on a Unix socket at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.passed: Counter[Step] = Counter()
        self.struck: Counter[Step] = Counter()
        self._traps: list[Trap] = []
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, trap: Trap) -> Trap:
        """Arm a trap."""
        with self._lock:
            self._traps.append(trap)
        return trap

    def disarm(self, trap: Trap) -> None:
        """Take a trap away, if it was not sprung."""
        with self._lock:
            if trap in self._traps:
                self._traps.remove(trap)

    def disarm_all(self) -> None:
        """Take every trap away."""
        with self._lock:
            self._traps.clear()

    def close(self) -> None:
        """Stop listening."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # else accepting would go on
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        name = role = ""
        line: Any = connection.makefile("rw", buffering=1)
        with connection, suppress(OSError), closing(line):  # it died
            for text in line:
                verb, _, rest = text.strip().partition(" ")
                if verb == "hello":
                    name = rest.partition(" ")[0]
                    role = name.partition("-")[0]
                    line.write("go\n")
                else:
                    line.write(self._command(name, (role, rest), verb) + "\n")

    def _command(self, name: str, step: Step, when: str) -> str:
        with self._lock:
            self.passed[step] += 1
            trap = next((t for t in self._traps if (t.step, t.when) == (step, when)), None)
            if trap is None:
                return "go"
            self._traps.remove(trap)
            self.struck[step] += 1
        trap.by = name
        trap.on_hit(name)
        trap.hit.set()
        return trap.command
