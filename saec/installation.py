"""What `saec init` does and every process checks: a database and topics that belong together.

Invariant: running it again changes nothing, and the ids of Kafka that are known stay.
"""

from dataclasses import dataclass

import structlog

from saec.errors import ConfigurationError
from saec.kafka import fit, topics
from saec.kafka.identity import read_identity
from saec.settings import Settings
from saec.store import identity as ids
from saec.store import installation as store
from saec.store.bounds import not_in_force
from saec.store.engine import Connection, Engine, open_engine, transaction
from saec.store.identity import KafkaIds

_log = structlog.get_logger("saec.installation")


@dataclass(frozen=True, slots=True)
class Initialised:
    """What `init` found or made."""

    shards: int
    topics_created: list[str]
    told: list[str]
    """What topics that stand are not like, in words, with what to do."""


def init(settings: Settings) -> Initialised:
    """Run the migrations, create the topics that are missing, and write down which Kafka it is.

    Raises:
        ConfigurationError: the database or the ledger belongs to another installation, or a topic
            that stands does not stamp its records.
        StoreUnavailableError, BrokerUnavailableError: no answer.
    """
    wanted = store.Installation(settings.topic_prefix, settings.shards)
    engine = open_engine(settings.database_url, application="saec-init")
    try:
        with transaction(engine) as connection:
            stands = store.create(connection, wanted)
        created = topics.create_missing(settings, stands.shards)
        told = fit.check(settings, stands.shards)
        found = kafka_ids(settings)
        with transaction(engine) as connection:
            ids.adopt_ids(connection, found)
    finally:
        engine.dispose()
    return Initialised(stands.shards, created, told)


def check(settings: Settings) -> store.Installation:
    """The installation these settings point at, once database and topics are seen to fit.

    Raises:
        ConfigurationError: says what does not fit, and what to do.
    """
    engine = open_engine(settings.database_url, application="saec-check")
    try:
        with transaction(engine) as connection:
            _check_bounds(connection)
            store.read(connection, settings.topic_prefix)
            recovering = ids.read_ids(connection)[1]
        if recovering:
            raise ConfigurationError(
                "a recovery of the database has not finished: run `saec recover` again"
            )
        stands = belonging(settings, engine)
    finally:
        engine.dispose()
    for told in fit.check(settings, stands.shards):
        _log.warning("topic unfit", told=told)
    return stands


def _check_bounds(connection: Connection) -> None:
    """Refuse a database that holds nothing back: a claim would wait, or look, for ever."""
    found = not_in_force(connection)
    if found:
        said = ", ".join(f"{name} is {value}" for name, value in sorted(found.items()))
        raise ConfigurationError(
            f"PostgreSQL does not keep what a transaction sets: {said}; "
            "see docs/operations.md, Poolers"
        )


def belonging(settings: Settings, engine: Engine) -> store.Installation:
    """The same, also while a recovery is under way.

    Raises:
        ConfigurationError: says what does not fit, and what to do.
    """
    with transaction(engine) as connection:
        stands = store.read(connection, settings.topic_prefix)
        known, _ = ids.read_ids(connection)
    topics.check(settings, stands.shards)
    changed = differences(settings, known, kafka_ids(settings))
    if changed:
        raise ConfigurationError(
            f"this is not the Kafka that the database knows: {'; '.join(changed)}; "
            "see docs/operations.md, Recovery"
        )
    return stands


def kafka_ids(settings: Settings) -> KafkaIds:
    """The ids that Kafka answers with now.

    Raises:
        BrokerUnavailableError: no answer.
    """
    names = settings.topics
    sources = (names.requests, names.customers, names.ledger)
    found = read_identity(settings, sources)
    return KafkaIds(found.cluster_id, *(found.topic_ids[name] for name in sources))


def differences(settings: Settings, known: KafkaIds, found: KafkaIds) -> list[str]:
    """In words, which of the known ids are others now."""
    names = settings.topics
    said = {
        "cluster_id": "the cluster",
        "requests_topic_id": names.requests,
        "customers_topic_id": names.customers,
        "ledger_topic_id": names.ledger,
    }
    return [
        f"{what} has the id {getattr(found, name)}, not {getattr(known, name)}"
        for name, what in said.items()
        if getattr(known, name) not in {None, getattr(found, name)}
    ]
