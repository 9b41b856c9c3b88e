"""`saec doctor`: what it prints, and its exit codes. What it finds is tested in tests/doctor."""

import json

import pytest
from sqlalchemy import Engine

from saec.kafka import survey
from saec.store.engine import count, transaction
from tests.cli.conftest import Run


def halt(engine: Engine) -> None:
    with transaction(engine) as connection:
        count(connection, "UPDATE shards SET halted = 'for a test' WHERE shard = 1")


def test_warnings_are_exit_code_0(here: Run) -> None:
    result = here("doctor", "--json", "--wait", "0")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["level"] == "warning"
    for finding in told["findings"]:
        assert finding.keys() == {"check", "level", "found", "advice"}
        assert (finding["advice"] is None) == (finding["level"] == "ok")


def test_errors_are_exit_code_1_and_people_are_told_what_to_do(here: Run, engine: Engine) -> None:
    halt(engine)
    result = here("doctor", "--wait", "0")
    assert result.exit_code == 1
    assert "ERROR   halted_shards: shard 1: for a test" in result.stdout
    assert "-> Find the cause, remove it, and clear the halt" in result.stdout
    assert result.stdout.splitlines()[-1].endswith(" 1 error"), result.stdout


def test_a_part_that_does_not_answer_is_exit_code_3(
    here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "_TIMEOUT_S", 0.5)
    result = here("doctor", "--json", SAEC_KAFKA='{"bootstrap.servers": "127.0.0.1:1"}')
    assert result.exit_code == 3
    assert json.loads(result.stdout)["level"] == "error"
    assert "Connection refused" in result.stdout
