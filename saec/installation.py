"""What `saec init` does and every process checks: a database and topics that belong together.

Invariant: running it again changes nothing.
"""

from dataclasses import dataclass

from saec.kafka import topics
from saec.settings import Settings
from saec.store import installation as store
from saec.store.engine import open_engine, transaction


@dataclass(frozen=True, slots=True)
class Initialised:
    """What `init` found or made."""

    shards: int
    topics_created: list[str]


def init(settings: Settings) -> Initialised:
    """Run the migrations and create the topics that are missing.

    Raises:
        ConfigurationError: the database or the ledger belongs to another installation.
        StoreUnavailableError, BrokerUnavailableError: no answer.
    """
    wanted = store.Installation(settings.topic_prefix, settings.shards)
    engine = open_engine(settings.database_url, application="saec-init")
    try:
        with transaction(engine) as connection:
            stands = store.create(connection, wanted)
    finally:
        engine.dispose()
    return Initialised(stands.shards, topics.create_missing(settings, stands.shards))


def check(settings: Settings) -> store.Installation:
    """The installation these settings point at, once database and topics are seen to fit.

    Raises:
        ConfigurationError: says what does not fit, and what to do.
    """
    engine = open_engine(settings.database_url, application="saec-check")
    try:
        with transaction(engine) as connection:
            stands = store.read(connection, settings.topic_prefix)
    finally:
        engine.dispose()
    topics.check(settings, stands.shards)
    return stands
