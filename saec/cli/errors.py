"""What `saec` ends with: its exit codes, and how an error is told.

Invariant: an error of SAEC is one message with what to do next, never a traceback.
"""

from enum import IntEnum
from typing import Any

import typer
from typer.core import TyperGroup

from saec.cli import output
from saec.errors import BrokerUnavailableError, SaecError, StoreUnavailableError


class ExitCode(IntEnum):
    """What each exit code means; `saec --help` prints this table."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    UNAVAILABLE = 3
    NO_ANSWER = 4


EXIT_CODES = """Exit codes:

* 0: done.
* 1: the answer is no (refused, too late, not found; the demo failed).
* 2: wrong usage or invalid input; nothing was published.
* 3: a part does not answer or is misconfigured.
* 4: no answer within --wait.
"""


class InputError(SaecError):
    """What the user gave is not valid; nothing was published."""


def exit_code_of(error: SaecError) -> ExitCode:
    """The exit code an error ends with."""
    return ExitCode.USAGE if isinstance(error, InputError) else ExitCode.UNAVAILABLE


class Commands(TyperGroup):
    """A group of commands that tells SAEC's errors as a message and an exit code."""

    def get_params(self, ctx: Any) -> Any:
        """The group's own parameters."""
        return _without_type(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _without_type(command.get_params(ctx))
        return command

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except SaecError as error:
            output.error(_with_advice(error))
            raise typer.Exit(exit_code_of(error)) from None


def _without_type(params: Any) -> Any:
    """Flags whose help does not say that they are `<bool>`: nobody can give them a value."""
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


def _with_advice(error: SaecError) -> str:
    text = str(error)
    if isinstance(error, StoreUnavailableError):
        return f"{text}\nCheck SAEC_DATABASE_URL and that PostgreSQL runs, or start `saec up`."
    if isinstance(error, BrokerUnavailableError):
        if "SAEC_BOOTSTRAP_SERVERS" in text:
            return f"{text}, or start `saec up`"
        return f"{text}\nCheck SAEC_BOOTSTRAP_SERVERS and that Kafka runs, or start `saec up`."
    return text
