"""`saec demo` ends with what the verdict is; the run itself is tested in tests/demo."""

import json

import pytest

from saec.contracts.events import Channel
from saec.demo.verdict import AnswerVerdict, ChannelVerdict, Verdict
from tests.cli.conftest import Run

FAULTS = ("missing", "duplicate", "early", "extra", "altered")


def verdict(*differences: str, **faults: int) -> Verdict:
    counts = {"expected": 9, "dispatched": 9} | dict.fromkeys(FAULTS, 0) | faults
    channels = tuple(ChannelVerdict(channel=channel, **counts) for channel in Channel)
    return Verdict(channels, (AnswerVerdict("ACCEPTED", 1, 1),), differences)


@pytest.mark.parametrize(
    ("judged", "exit_code"),
    [
        (verdict(), 0),
        *((verdict(**{fault: 1}), 1) for fault in FAULTS),
        (verdict("answers: x ACCEPTED: expected 1, found 0"), 1),
    ],
)
def test_the_exit_code_is_the_verdict(
    saec: Run, monkeypatch: pytest.MonkeyPatch, judged: Verdict, exit_code: int
) -> None:
    monkeypatch.setattr("saec.cli.demo.run_demo", lambda _: judged)
    plain, as_json = saec("demo"), saec("demo", "--json")
    assert plain.exit_code == as_json.exit_code == exit_code
    assert json.loads(as_json.stdout)["ok"] == (exit_code == 0)
    assert ("FAILED" in plain.stdout) == (exit_code == 1)


def test_no_line_in_a_pipe_ends_in_spaces(saec: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saec.cli.demo.run_demo", lambda _: verdict())
    lines = saec("demo").stdout.splitlines()
    assert any("ACCEPTED" in line for line in lines)
    assert [line for line in lines if line != line.rstrip()] == []


def test_an_interrupted_demo_says_so(saec: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("saec.cli.demo.run_demo", interrupted)
    result = saec("demo")
    assert result.exit_code == 130
    assert result.stderr == "Stopped.\n"
