"""What `saec init` fixed for ever: the topic prefix and the number of shards.

Invariant: a database belongs to one prefix; a process with other settings is refused.
"""

from dataclasses import dataclass

from sqlalchemy import Connection

from saec.errors import ConfigurationError
from saec.store import schema
from saec.store.engine import count, rows


@dataclass(frozen=True, slots=True)
class Installation:
    """The one row of `installation`."""

    topic_prefix: str
    shards: int


_READ = "SELECT topic_prefix, shards FROM installation"
_INSERT = """
    INSERT INTO installation (topic_prefix, shards) VALUES (%(topic_prefix)s, %(shards)s)
    ON CONFLICT DO NOTHING
"""
_SHARDS = """
    INSERT INTO shards (shard) SELECT generate_series(0, %(shards)s - 1) ON CONFLICT DO NOTHING
"""


def create(connection: Connection, wanted: Installation) -> Installation:
    """Migrate, and fix prefix and shard count if that was not done before.

    Raises:
        ConfigurationError: the database belongs to another prefix.
    """
    from saec.store import migrate  # noqa: PLC0415 - see `schema`

    migrate.upgrade(connection)
    count(connection, _INSERT, topic_prefix=wanted.topic_prefix, shards=wanted.shards)
    stands = read(connection, wanted.topic_prefix)
    count(connection, _SHARDS, shards=stands.shards)
    return stands


def read(connection: Connection, topic_prefix: str) -> Installation:
    """The installation in this database.

    Raises:
        ConfigurationError: no tables, other schema version, or another prefix.
    """
    schema.check(connection)
    found = rows(connection, _READ)
    if not found:
        raise ConfigurationError("the database was never initialised: run `saec init`")
    stands = Installation(*found[0])
    if stands.topic_prefix != topic_prefix:
        raise ConfigurationError(
            f"the database belongs to the topic prefix {stands.topic_prefix!r}, not "
            f"{topic_prefix!r}: set SAEC_TOPIC_PREFIX or SAEC_DATABASE_URL to match"
        )
    return stands
