"""Makes Kafka clients, with the settings that the protocol depends on.

Invariant: no client is made anywhere else, and what a caller overrides by `SAEC_KAFKA` cannot
weaken what exactly once rests on (idempotence, isolation, no automatic commits).
"""

import logging
import re
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from saec.contracts.headers import RawHeaders
from saec.errors import BrokerUnavailableError, ConfigurationError
from saec.kafka.logins import with_callback
from saec.settings import Settings

# How the client names what it refuses; the first that is found counts, since the others would also
# find a value.
_PROPERTIES = (
    re.compile(r'property:? "([\w.]+)"'),
    re.compile(r"(GSSAPI)|(\w+_cb) property"),
    re.compile(r"\b((?:sasl|ssl)\.[a-z.]+)\b"),
)
_KERBEROS = (
    "SAEC_KAFKA: the Kafka client from PyPI was built without Kerberos (GSSAPI): build it on a "
    "machine with librdkafka and libsasl2 (`pip install --no-binary confluent-kafka "
    "confluent-kafka`), or log in another way; see docs/security.md"
)

_log = logging.getLogger("saec.kafka")

# Big enough that a batch never waits for room; a batch itself is bounded (see dispatch.claim).
_QUEUE_MESSAGES = 100_000
_QUEUE_KBYTES = 262_144
_BATCH_BYTES = 1_000_000  # the client's own default
_LEAST_MESSAGE_BYTES = 4_000_000

# However well it was compressed: one answer of a broker is decompressed at a time, the next one is
# fetched when all of it was taken, and it holds a megabyte, or one batch that is larger.
_BOUNDED = {
    "queued.min.messages": 1,
    "queued.max.messages.kbytes": 1_024,
    "fetch.max.bytes": 1_048_576,
    "fetch.message.max.bytes": 1_048_576,
    # How long the client pauses when its queue is not empty: by default a second.
    "fetch.queue.backoff.ms": 2,
}

UNREADABLE: RawHeaders = ()
"""Headers that there are, but that the client cannot show."""


def _common(settings: Settings) -> dict[str, Any]:
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": f"saec-{settings.instance or 'anonymous'}",
        # A broker that is away is asked, and complained about, a few times a second at most.
        "reconnect.backoff.ms": 250,
        "reconnect.backoff.max.ms": 2_000,
        **settings.kafka,
    }


def admin(settings: Settings, **overrides: Any) -> AdminClient:
    """An admin client; `logger` among the overrides hears what it says."""
    return _made(AdminClient, {"logger": _log, **_common(settings), **overrides})


def producer(settings: Settings, **overrides: Any) -> Producer:
    """A producer that puts keys where Java clients put them."""
    return _made(
        Producer,
        {
            "logger": _log,
            "linger.ms": 5,
            "queue.buffering.max.messages": _QUEUE_MESSAGES,
            "queue.buffering.max.kbytes": _QUEUE_KBYTES,
            # What is accepted fits, also when the setting was larger while it was accepted.
            "message.max.bytes": max(4 * settings.max_request_bytes, _LEAST_MESSAGE_BYTES),
            # Source topics count a batch as it is without compression.
            "batch.size": min(_BATCH_BYTES, settings.max_request_bytes),
            **_common(settings),
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            **overrides,
        },
    )


def consumer(settings: Settings, group_id: str, **overrides: Any) -> Consumer:
    """A read_committed consumer that never commits by itself and never jumps over a gap."""
    return _made(
        Consumer,
        {
            "logger": _log,
            **_common(settings),
            "group.id": group_id,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            **_BOUNDED,
            **overrides,
        },
    )


def _made(kind: Callable[[dict[str, Any]], Any], config: dict[str, Any]) -> Any:
    """A client; its own words on a property that it refuses could quote a secret."""
    try:
        return kind(with_callback(config))
    except KafkaException as error:
        if error.args[0].code() == KafkaError.SASL_AUTHENTICATION_FAILED:
            raise BrokerUnavailableError(
                "no login to Kafka: no token came in time; look at what SAEC_KAFKA names to get it"
            ) from None
        raise _refused(error.args[0]) from None
    except ImportError as error:
        raise ConfigurationError(
            f"SAEC_KAFKA asks for a login that needs a Python package which is not installed "
            f"({error.name or 'see the documentation of confluent-kafka'}); see docs/security.md"
        ) from None
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:  # its Python layer's
        raise _refused(error) from None


def _refused(said: object) -> ConfigurationError:
    """Names the property, if the client did; never a value."""
    found = next(filter(None, (pattern.search(str(said)) for pattern in _PROPERTIES)), None)
    which = next(filter(None, found.groups())) if found else "one or several together"
    if which == "GSSAPI":
        return ConfigurationError(_KERBEROS)
    return ConfigurationError(
        f"SAEC_KAFKA: the Kafka client refuses a property: {which}; see librdkafka's "
        "CONFIGURATION.md"
    )


def position(topic: str, partition: int, offset: int, epoch: int | None) -> TopicPartition:
    """An offset, with the epoch of the leader that wrote the record before it, if that is known."""
    if epoch is None or epoch < 0:
        return TopicPartition(topic, partition, offset)
    return TopicPartition(topic, partition, offset, leader_epoch=epoch)


def headers_of(message: Any) -> RawHeaders:
    """A message's headers; `UNREADABLE` where the client cannot show them: names that are no UTF-8.

    None where there are none.
    """
    try:
        headers: RawHeaders = message.headers()
    except Exception:
        return UNREADABLE
    return headers
