"""`saec acls`: the least that each process may do, as commands to run."""

from dataclasses import asdict
from typing import Annotated

import typer

from saec.cli import output
from saec.cli.errors import InputError
from saec.kafka.acls import Rule, rules
from saec.settings import Settings, load_settings
from saec.store import grants


def acls_command(
    postgres: Annotated[
        bool, typer.Option("--postgres", help="Roles and grants of PostgreSQL instead.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As the table of the docs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Print what each process and each partner needs, and nothing more. Changes nothing.

    Give `kafka-acls.sh` your own `--bootstrap-server` and `--command-config`.

    Example: `saec acls`
    """
    settings = load_settings()
    if markdown and as_json:
        raise InputError("give --markdown or --json, not both")
    if postgres:
        _postgres(settings, markdown=markdown, as_json=as_json)
    else:
        _kafka(rules(settings), markdown=markdown, as_json=as_json)


def _kafka(needed: list[Rule], *, markdown: bool, as_json: bool) -> None:
    if as_json:
        output.as_json([asdict(rule) for rule in needed])
    elif markdown:
        output.line("| principal | resource | operations |\n|---|---|---|")
        for rule in needed:
            name = f"{rule.name}*" if rule.prefixed else rule.name
            resource = f"{rule.resource} `{name}`"
            output.line(f"| `{rule.principal}` | {resource} | {', '.join(rule.operations)} |")
    else:
        for rule in needed:
            output.line(rule.command)


def _postgres(settings: Settings, *, markdown: bool, as_json: bool) -> None:
    before, after = grants.before_init(settings), grants.after_init(settings)
    if as_json:
        output.as_json({"before_init": before, "after_init": after})
    elif markdown:
        output.line("| role | table | privileges |\n|---|---|---|")
        for role, tables in grants.TABLES.items():
            for table, privileges in tables.items():
                output.line(f"| `{grants.role_name(settings, role)}` | {table} | {privileges} |")
    else:
        output.line("-- As an administrator of this database, before `saec init`:")
        output.line(";\n".join(before) + ";")
        output.line("-- As the role of `saec init`, after each `saec init`:")
        output.line(";\n".join(after) + ";")
