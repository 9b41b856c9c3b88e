"""Every command explains itself."""

import pytest

from saec.cli.errors import ExitCode
from tests.cli.conftest import Run

COMMANDS = [
    "init", "up", "demo", "submit", "cancel", "status", "pending", "tail", "settings",
    "customers load", "customers erase", "doctor",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_shows_an_example_and_json(saec: Run, command: str) -> None:
    result = saec(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"saec {command}" in result.stdout.partition("Example")[2]
    assert "--json" in result.stdout


def test_the_exit_codes_are_documented(saec: Run) -> None:
    shown = saec("--help").stdout.partition("Exit codes")[2]
    assert all(f"{code.value}: " in shown for code in ExitCode)


def test_version(saec: Run) -> None:
    assert saec("--version").stdout.startswith("saec ")
