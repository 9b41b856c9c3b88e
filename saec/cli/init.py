"""`saec init`: migrations and topics."""

from typing import Annotated

import typer

from saec import installation
from saec.cli import output
from saec.settings import load_settings


def init_command(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Create or upgrade the tables and create the topics that are missing.

    Running it again changes nothing.

    Example: `saec init`
    """
    settings = load_settings()
    made = installation.init(settings)
    if as_json:
        output.as_json(
            {
                "topic_prefix": settings.topic_prefix,
                "shards": made.shards,
                "topics_created": made.topics_created,
                "topics_unfit": made.told,
            }
        )
        return
    shards = output.counted(made.shards, "shard")
    output.line(f"Database: ready for the prefix {settings.topic_prefix}, {shards}.")
    for topic in made.topics_created:
        output.line(f"Topic created: {topic}")
    if not made.topics_created:
        output.line("Topics: all there already.")
    for told in made.told:
        output.line(f"Unfit: {told}")
