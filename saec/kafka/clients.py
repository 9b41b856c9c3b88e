"""Makes Kafka clients, with the settings that the protocol depends on.

Invariant: no client is made anywhere else, and what a caller overrides by `SAEC_KAFKA` cannot
weaken what exactly once rests on (idempotence, isolation, no automatic commits).
"""

import logging
import re
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from saec.contracts.headers import RawHeaders
from saec.errors import ConfigurationError
from saec.settings import Settings

_PROPERTY = re.compile(r'property:? "([\w.]+)"')

_log = logging.getLogger("saec.kafka")

# Big enough that a batch never waits for room; a batch itself is bounded (see dispatch.claim).
_QUEUE_MESSAGES = 100_000
_QUEUE_KBYTES = 262_144
_BATCH_BYTES = 1_000_000  # the client's own default

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
            "message.max.bytes": 4 * settings.max_request_bytes,
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
            **overrides,
        },
    )


def _made(kind: Callable[[dict[str, Any]], Any], config: dict[str, Any]) -> Any:
    """A client; its own words on a property that it refuses could quote a secret."""
    try:
        return kind(config)
    except KafkaException as error:
        named = _PROPERTY.search(str(error.args[0]))
        which = named.group(1) if named else "one or several together"
        raise ConfigurationError(
            f"SAEC_KAFKA: the Kafka client refuses a property: {which}; see librdkafka's "
            "CONFIGURATION.md"
        ) from None


def headers_of(message: Any) -> RawHeaders:
    """A message's headers; `UNREADABLE` where the client cannot show them: names that are no UTF-8.

    None where there are none.
    """
    try:
        headers: RawHeaders = message.headers()
    except Exception:
        return UNREADABLE
    return headers
