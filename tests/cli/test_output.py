"""A bar is for people: on a terminal it moves and goes away, elsewhere there is none."""

import csv
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from saec.audit import Audit, Finding, Kind
from saec.cli import output
from saec.cli.audited import write_csv

_TOLD = """
from saec.cli import output
with output.progress_of("Reading") as told:
    told(0, 2_000_000)
    for done in range(0, 2_000_001, 500_000):
        told(done, 2_000_000)
print("done")
"""


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


HOSTILE = "\x9b2J\x7f\u202e\u200b\x1b[31m\ud800 ação \U0001f600 \U000e0041"


def test_json_holds_nothing_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither C1, DEL nor bidi; and it means the same."""
    output.as_json({"name": HOSTILE})
    shown = capsys.readouterr().out
    assert shown.rstrip("\n").isprintable()
    assert "ação \U0001f600" in shown
    assert json.loads(shown) == {"name": HOSTILE}


def test_an_error_holds_nothing_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    output.error(f"no file {HOSTILE[:-2]}")
    shown = capsys.readouterr().err
    assert shown.replace("\n", "").isprintable()
    assert "ação" in shown


@pytest.mark.parametrize("begins", list("=+-@\t\r\n＝＋－＠"))
def test_no_cell_of_a_file_is_a_formula(begins: str, tmp_path: Path) -> None:
    hostile, path = f"{begins}cmd|' /C calc'!A0", tmp_path / "findings.csv"
    finding = Finding(Kind.DUPLICATE, -1, (), campaign_id=hostile, customer_id=f"a{begins}")
    done = SimpleNamespace(findings=lambda: iter([finding]))
    write_csv(path, cast("Audit", done))
    with path.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["campaign_id"] == f"'{hostile}"
    assert row["customer_id"] == f"a{begins}"
    assert row["messages"] == "-1"
