"""Every command explains itself."""

import pytest

from saec.cli.errors import ExitCode
from saec.cli.output import counted
from saec.errors import BrokerUnavailableError
from tests.cli.conftest import Run

COMMANDS = [
    "init", "up", "demo", "submit", "cancel", "status", "history", "pending", "tail", "settings",
    "customers load", "customers erase", "doctor", "audit", "recover", "rebuild", "replay",
    "keys add", "keys list", "keys revoke",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_shows_an_example_and_json(saec: Run, command: str) -> None:
    result = saec(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"saec {command}" in result.stdout.partition("Example")[2]
    assert "--json" in result.stdout


@pytest.mark.parametrize("command", ["", "customers", "keys", *COMMANDS])
def test_the_short_form_says_the_same(saec: Run, command: str) -> None:
    short = saec(*command.split(), "-h")
    assert short.exit_code == 0
    assert short.stdout == saec(*command.split(), "--help").stdout
    assert "<bool>" not in short.stdout


def test_the_exit_codes_are_documented(saec: Run) -> None:
    shown = saec("--help").stdout.partition("Exit codes")[2]
    assert all(f"{code.value}: " in shown for code in ExitCode)


def test_version(saec: Run) -> None:
    assert saec("--version").stdout.startswith("saec ")


@pytest.mark.parametrize("columns", ["80", "160"])
def test_settings_are_not_cut_and_not_padded(saec: Run, columns: str) -> None:
    shown = saec("settings", COLUMNS=columns).stdout
    assert "…" not in shown
    assert [line for line in shown.splitlines() if line != line.rstrip()] == []
    assert "┃" not in shown


def test_kafka_that_is_away_can_be_started(saec: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> None:
        raise BrokerUnavailableError("no answer from Kafka; check SAEC_BOOTSTRAP_SERVERS")

    monkeypatch.setattr("saec.cli.publishing.publish", unreachable)
    result = saec("cancel", "6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10")
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert "check SAEC_BOOTSTRAP_SERVERS, or start `saec up`" in result.stderr


@pytest.mark.parametrize(
    ("number", "told"), [(0, "0 errors"), (1, "1 error"), (2_000, "2,000 errors")]
)
def test_one_is_singular(number: int, told: str) -> None:
    assert counted(number, "error") == told
