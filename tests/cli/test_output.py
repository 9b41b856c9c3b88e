"""A bar is for people: on a terminal it moves and goes away, elsewhere there is none."""

import os
import pty
import re
import subprocess
import sys

import pytest

_TOLD = """
from saec.cli import output
with output.progress_of("Reading") as told:
    told(0, 2_000_000)
    for done in range(0, 2_000_001, 500_000):
        told(done, 2_000_000)
print("done")
"""


@pytest.mark.timeout(60)
def test_a_bar_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    variables = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-c", _TOLD],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=variables,
        check=True,
    )
    os.close(theirs)
    shown = drained(ours)
    assert done.stdout == b"done\n"
    assert "Reading" in shown
    assert "2,000,000/2,000,000" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert shown.endswith("\x1b[1A\x1b[2K")  # a line up, and emptied
    assert "\x1b[?25h" in shown  # the cursor is back


def test_no_bar_elsewhere() -> None:
    done = subprocess.run([sys.executable, "-c", _TOLD], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"done\n", b"")


def drained(terminal: int) -> str:
    """What was written to a terminal that nobody writes to any more."""
    found = b""
    try:
        while piece := os.read(terminal, 65_536):
            found += piece
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(terminal)
    return found.decode()
