"""The settings of a command, and `saec settings`: the table of all of them.

Invariant: a wrong setting is named by its variable, and its value is never shown.
"""

from typing import Annotated, Any

import typer
from pydantic_core import PydanticUndefined

from saec.cli import output
from saec.settings import Settings, variable


def settings_command(
    markdown: Annotated[bool, typer.Option("--markdown", help="As the table of the docs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List every setting: variable, default, meaning.

    Example: `saec settings`
    """
    rows = [
        (variable(name), _default(field.get_default()), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    if markdown:
        output.line(to_markdown(rows))
    elif as_json:
        output.as_json([{"name": n, "default": d, "meaning": m} for n, d, m in rows])
    else:
        output.table("Settings: environment variables", ("Variable", "Default", "Meaning"), rows)


def to_markdown(rows: list[tuple[str, str, str]]) -> str:
    """The table of docs/configuration.md, without a line end."""
    head = ["| variable | default | meaning |", "|---|---|---|"]
    body = [f"| {_code(name)} | {_code(default)} | {meaning} |" for name, default, meaning in rows]
    return "\n".join(head + body)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _default(value: Any) -> str:
    if value is None or value is PydanticUndefined:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
