"""A child process that is talked to by lines, as the reader and the producers beside SAEC are.

Invariant: it is gone, and its pipes are closed, at the end of its block.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class Child:
    """A running child."""

    def __init__(self, process: "subprocess.Popen[str]", name: str) -> None:
        self._process = process
        self._name = name

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def tell(self, line: str) -> None:
        """Write a line to it."""
        if self._process.stdin:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()

    def hear(self) -> str:
        """Its next line.

        Raises:
            RuntimeError: it ended.
        """
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError(f"{self._name} ended")
        return line

    def finish(self, timeout_s: float) -> None:
        """Close its stdin, and wait until it has ended by itself.

        Raises:
            RuntimeError: it failed.
        """
        if self._process.stdin:
            self._process.stdin.close()
        if self._process.wait(timeout_s) != 0:
            raise RuntimeError(f"{self._name} failed")


@contextmanager
def child(name: str, command: Sequence[str], log: Path | None = None) -> Iterator[Child]:
    """Start it; what it writes to stderr goes to `log`, if that is given."""
    errors = log.open("ab") if log else None
    process = subprocess.Popen(
        list(command),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )
    try:
        yield Child(process, name)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, errors):
            if stream:
                stream.close()


def module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours."""
    return [sys.executable, "-m", name, *arguments]
