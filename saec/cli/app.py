"""Puts the commands together."""

import logging
from importlib.metadata import version
from typing import Annotated

import typer

from saec.cli.acls import acls_command
from saec.cli.audit import audit_command
from saec.cli.cancel import cancel_command
from saec.cli.configuration import settings_command
from saec.cli.customers import customers
from saec.cli.demo import demo_command
from saec.cli.doctor import doctor_command
from saec.cli.errors import EXIT_CODES, Commands
from saec.cli.history import history_command
from saec.cli.init import init_command
from saec.cli.keys import keys
from saec.cli.pending import pending_command
from saec.cli.rebuild import rebuild_command
from saec.cli.recover import recover_command
from saec.cli.replay import replay_command
from saec.cli.status import status_command
from saec.cli.submit import submit_command
from saec.cli.tail import tail_command
from saec.cli.up import up_command
from saec.logs import log_beside_output

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    epilog=EXIT_CODES,
    help="Schedule messages through Kafka, each to be published once, when it is due.\n\n"
    "Where Kafka and PostgreSQL are is in SAEC_BOOTSTRAP_SERVERS and SAEC_DATABASE_URL: "
    "`saec settings` lists every setting, `saec up` starts both on this machine.",
)
app.command("init")(init_command)
app.command("up")(up_command)
app.command("demo")(demo_command)
app.command("submit")(submit_command)
app.command("cancel")(cancel_command)
app.command("status")(status_command)
app.command("history")(history_command)
app.command("pending")(pending_command)
app.command("tail")(tail_command)
app.command("audit")(audit_command)
app.command("doctor")(doctor_command)
app.command("recover")(recover_command)
app.command("rebuild")(rebuild_command)
app.command("replay")(replay_command)
app.add_typer(customers, name="customers")
app.add_typer(keys, name="keys")
app.command("acls")(acls_command)
app.command("settings")(settings_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"saec {version('saec')}")
        raise typer.Exit


@app.callback()
def _before(
    _version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version."),
    ] = False,
) -> None:
    # The Kafka client's own words would stand between the lines; its errors are told once.
    logging.getLogger("saec").addHandler(logging.NullHandler())


def main() -> None:
    """The entry point of the command `saec`."""
    log_beside_output()
    app()
