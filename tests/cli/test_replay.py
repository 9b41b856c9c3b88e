"""`saec replay` as an operator runs it: what it prints, and what it refuses."""

import json

import pytest

from saec.cli.errors import ExitCode
from saec.settings import Settings
from tests.cli.conftest import Run
from tests.replay.kit import make_topic, numbered, put, seen

SECRET = "ana@example.com"


@pytest.fixture
def source(installation: Settings) -> str:
    topic = make_topic(installation, 2)
    put(installation, topic, numbered(30, headers=[("of", SECRET.encode())]))
    return topic


def test_it_counts_copies_and_has_nothing_left_to_do(
    here: Run, installation: Settings, source: str
) -> None:
    target = make_topic(installation, 2)
    foreseen = here("replay", source, "--to", target, "--dry-run")
    assert foreseen.exit_code == ExitCode.OK
    assert f"30 records would be copied into {target}. Nothing was changed." in foreseen.stdout
    assert "To copy" in foreseen.stdout
    assert seen(installation, target) == []
    done = here("replay", source, "--to", target, "--id", "mine")
    assert done.exit_code == ExitCode.OK
    assert f"30 records copied into {target}. Replay mine." in done.stdout
    again = here("replay", source, "--to", target, "--id", "mine")
    assert "0 records copied" in again.stdout
    assert "30 records copied by earlier runs." in again.stdout
    assert len(seen(installation, target)) == 30
    for result in (foreseen, done, again):
        assert SECRET not in result.output


def test_json(here: Run, installation: Settings, source: str) -> None:
    target = make_topic(installation, 2)
    told = json.loads(here("replay", source, "--to", target, "--json").stdout)
    assert (told["copied"], told["copied_before"], told["source"]) == (30, 0, source)
    assert sum(one["chosen"] for one in told["partitions"].values()) == 30
    assert {one["start"] for one in told["partitions"].values()} == {0}


def test_what_is_left_out_is_told(here: Run, installation: Settings, source: str) -> None:
    target = make_topic(installation, 2)
    result = here("replay", source, "--to", target, "--campaign", "may", "--dry-run")
    assert result.exit_code == ExitCode.OK
    assert "30 records left out: their content does not say what they are about." in result.stdout


def test_all_ways_to_select(here: Run, installation: Settings, source: str) -> None:
    target = make_topic(installation, 2)
    result = here(
        *("replay", source, "--to", target, "--rate", "1000"),
        *("--since", "2020-01-01T00:00:00Z", "--until", "2999-01-01T00:00:00-03:00"),
        *("--offsets", "0:1-3", "--offsets", "1:2-"),
    )
    assert result.exit_code == ExitCode.OK
    in_second = sum(one.partition == 1 for one in seen(installation, source))
    assert len(seen(installation, target)) == 3 + in_second - 2


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["--since", "10m"], "another one each time"),
        (["--until", "now"], "another one each time"),
        (["--since", "2026-01-01T00:00:00"], "with a zone"),
        (["--offsets", "0:5"], "PARTITION:FIRST-LAST"),
        (["--offsets", "all"], "PARTITION:FIRST-LAST"),
        (["--request", "42"], "canonical"),
        (["--rate", "0"], "rate"),
        (["--id", "a b"], "letters, digits"),
    ],
)
def test_what_cannot_be_meant(here: Run, args: list[str], why: str) -> None:
    result = here("replay", "x", "--to", "y", *args)
    assert result.exit_code == ExitCode.USAGE
    assert why in result.stderr


def test_what_must_not_be_written(here: Run, installation: Settings, source: str) -> None:
    topics = installation.topics
    live = here("replay", source, "--to", topics.requests)
    assert live.exit_code == ExitCode.USAGE
    assert f"--to {topics.requests} --really-into {topics.requests}" in live.stderr
    for args in ((), ("--really-into", topics.ledger)):
        result = here("replay", source, "--to", topics.ledger, *args)
        assert result.exit_code == ExitCode.USAGE
        assert "never written" in result.stderr
    assert here("replay", source, "--to", source).exit_code == ExitCode.USAGE
    missing = here("replay", source, "--to", f"{source}-new")
    assert missing.exit_code == ExitCode.USAGE
    assert "--create" in missing.stderr


def test_the_help_is_not_cut(saec: Run) -> None:
    assert "…" not in saec("replay", "--help", COLUMNS="80").stdout
