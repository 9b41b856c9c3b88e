"""`saec doctor`: what is wrong with an installation, and what to do about it."""

from typing import Annotated

import typer

from saec.cli import output
from saec.cli.errors import ExitCode
from saec.cli.instants import wall_ms
from saec.doctor.examine import Report, examine
from saec.doctor.findings import Finding, Level
from saec.settings import load_settings

_MARKS = {Level.OK: "ok", Level.WARNING: "WARNING", Level.ERROR: "ERROR"}


def doctor_command(
    wait_s: Annotated[
        float | None,
        typer.Option(
            "--wait", min=0, help="Seconds that an open transaction may take to end, by default 20."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Look at brokers, topics, tables, clocks and processes, and say what to do.

    Changes nothing. Exit code 0 when all is well or there are only warnings, 1 when there are
    errors, 3 when Kafka or PostgreSQL does not answer.

    Example: `saec doctor`
    """
    report = examine(load_settings(), wall_ms, wait_s=wait_s)
    if as_json:
        output.as_json(_as_dict(report))
    else:
        _show(report)
    raise typer.Exit(_exit_code(report))


def _exit_code(report: Report) -> ExitCode:
    if report.unreachable:
        return ExitCode.UNAVAILABLE
    return ExitCode.REFUSED if report.level is Level.ERROR else ExitCode.OK


def _as_dict(report: Report) -> dict[str, object]:
    return {
        "level": report.level.value,
        "findings": [
            {"check": f.check, "level": f.level.value, "found": f.found, "advice": f.advice}
            for f in report.findings
        ],
    }


def _show(report: Report) -> None:
    for finding in report.findings:
        _tell(finding)
    well, warnings, errors = (sum(f.level is level for f in report.findings) for level in Level)
    told = (f"{well} ok", output.counted(warnings, "warning"), output.counted(errors, "error"))
    output.line(", ".join(told))


def _tell(finding: Finding) -> None:
    output.line(f"{_MARKS[finding.level]:<8}{finding.check}: {finding.found}")
    if finding.advice is not None:
        output.line(f"        -> {finding.advice}")
