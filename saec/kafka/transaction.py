"""One transactional producer, and the only two ways a transaction can end: done, or in doubt.

Invariant: whatever goes wrong, in whatever call, is doubt; a producer in doubt is thrown away and
never used again, because after an error librdkafka's own words do not tell what happened.
"""

import logging
import threading
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException

from saec.contracts.headers import CopiedHeaders
from saec.errors import SaecError
from saec.kafka import clients
from saec.kafka.ends import Place, Reach
from saec.kafka.versions import Versions
from saec.settings import Settings

_clients = logging.getLogger("saec.kafka")
_log = structlog.get_logger("saec.kafka")
_warned_of: set[str] = set()  # brokers, in this process

_FULL_QUEUE_WAIT_S = 5.0
_EXTRA_COMMIT_S = 5.0
_LISTEN_EVERY_S = 0.1
_BATCH_BYTES = 1_000_000  # the client's own default
_MOST_BYTES = 1_000_000_000  # the client takes no more


# The broker ties these to a record: the same record would be refused again.
_OF_A_RECORD = {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.POLICY_VIOLATION,
    KafkaError.RECORD_LIST_TOO_LARGE,
}
# The broker is there, and says no.
_ANSWERED = _OF_A_RECORD | {
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError._FENCED,  # noqa: SLF001
}


class InDoubtError(SaecError):
    """A transaction may or may not have been committed.

    `refused` says that the broker refused a record of it, for good; then it was not committed.
    """

    def __init__(self, text: str, error: KafkaError | None = None) -> None:
        super().__init__(text)
        code = error.code() if error is not None else None
        self.refused = code in _OF_A_RECORD
        self.too_large = code in {
            KafkaError.MSG_SIZE_TOO_LARGE,
            KafkaError.RECORD_LIST_TOO_LARGE,
        }
        self.away = None if code in _ANSWERED else "Kafka"
        self.denied = code == KafkaError.TOPIC_AUTHORIZATION_FAILED
        self.name = error.name() if error is not None else ""


class EndLostError(SaecError):
    """A transaction was committed, but its end did not reach a partition that it wrote to."""

    away = "Kafka"


class TransactionalProducer:
    """A producer with a transactional id of its own."""

    is_clean = False
    """No transaction is open or in doubt: it may go on, whatever else failed."""
    _watching = False
    _reach: Reach | None = None

    def __init__(
        self,
        settings: Settings,
        role: str,
        *,
        transactional_id: str | None = None,
        largest_bytes: int | None = None,
        batch_bytes: int | None = None,
    ):
        """Fences whoever used `transactional_id` before; by default the id is new.

        `largest_bytes` is the `max.message.bytes` of the topic that is written, where another than
        the settings provide for: no batch becomes larger, and a record may be as large. With
        `batch_bytes` only batches are bounded.

        Raises:
            InDoubtError: the coordinator did not answer in time.
        """
        self.transactional_id = transactional_id or settings.new_transactional_id(role)
        self._timeout_s = settings.transaction_timeout_s
        self._bound_s = self._timeout_s + _EXTRA_COMMIT_S
        self._hangs = False
        self._versions = Versions(_clients, debug="debug" in settings.kafka)
        self._settings = settings
        self._produced = self._delivered = 0
        self._written: dict[Place, int] = {}
        self._producer = clients.producer(
            settings,
            **{
                "logger": self._versions.logger(),
                "debug": ",".join(filter(None, ["feature", settings.kafka.get("debug")])),
                "transactional.id": self.transactional_id,
                "transaction.timeout.ms": settings.transaction_timeout_s * 1000,
                **({} if largest_bytes is None else _sizes(largest_bytes)),
                **({} if batch_bytes is None else {"batch.size": batch_bytes}),
            },
        )
        try:
            self._doubtless(self._producer.init_transactions, self._bound_s)
        except InDoubtError:
            self.discard()
            raise
        self.is_clean = True

    @property
    def may_lose_ends(self) -> bool:
        """Whether a broker may lose the end of a transaction, as far as they told."""
        self._doubtless(self._producer.poll, 0)  # it tells its log only when polled
        return self._versions.may_lose_ends

    def begin(self) -> None:
        """Open a transaction."""
        self.is_clean = False
        self._watching = self.may_lose_ends
        if new := self._versions.of_4_3():
            _warn_once(new)
        self._produced = self._delivered = 0
        self._written = {}
        self._doubtless(self._producer.begin_transaction)

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: CopiedHeaders,
        partition: int = -1,
        on_delivery: Callable[[Any, Any], None] | None = None,
    ) -> None:
        """Queue one record of the open transaction."""
        kwargs: dict[str, Any] = {"headers": list(headers)}
        if self._watching:
            self._produced += 1
            on_delivery = self._noted if on_delivery is None else self._noting(on_delivery)
        if on_delivery is not None:
            kwargs["on_delivery"] = on_delivery
        try:
            self._producer.produce(topic, value, key, partition, **kwargs)
        except BufferError:
            self._producer.poll(_FULL_QUEUE_WAIT_S)
            self._doubtless(self._producer.produce, topic, value, key, partition, **kwargs)
        except KafkaException as error:
            raise _doubt(self._cause(error)) from None
        except Exception as error:
            raise InDoubtError(_describe(error)) from None

    def _cause(self, error: Exception) -> Exception:
        """What a transaction failed of that takes no more records."""
        if error.args[0].code() != KafkaError._STATE:  # noqa: SLF001
            return error
        try:
            self._producer.begin_transaction()  # of no effect: it says why there is none
        except Exception as cause:
            return cause
        return error

    def send_offsets(
        self,
        offsets: Mapping[Place, int],
        group: Any,
        epochs: Mapping[Place, int] = MappingProxyType({}),
    ) -> None:
        """Commit source offsets, (topic, partition) -> next, with the open transaction.

        `epochs` are the leaders' epochs that the records before them were written in: by them the
        client notices later that a partition lost records and goes on with others.

        After a broker was away the client may never come back from this call, whatever timeout it
        is given (https://github.com/confluentinc/librdkafka/issues/5456 and 5511). It is waited for
        no longer than Kafka keeps the transaction open.
        """
        positions = [
            clients.position(*source, offset, epochs.get(source))
            for source, offset in offsets.items()
        ]
        send = self._producer.send_offsets_to_transaction
        try:
            self._in_time(lambda: send(positions, group, self._timeout_s))
        except Exception as error:
            self._hangs = isinstance(error, _HangsError)
            raise InDoubtError(_describe(error)) from None

    def deliver(self) -> None:
        """Have everything delivered that was produced, or refused: without the client's linger.

        Raises:
            InDoubtError: it was not in time.
        """
        if self._doubtless(self._producer.flush, self._bound_s):
            raise InDoubtError(f"Kafka: not delivered in {self._bound_s:.0f} s")

    def commit(self) -> None:
        """Commit the open transaction; when this returns, all of it is visible to readers.

        Raises:
            InDoubtError: it may have been committed, or not.
            EndLostError: it was committed, but a partition does not know. This producer must write
                nothing more: the end of its next transaction would decide over what hangs there.
        """
        self._doubtless(self._producer.commit_transaction, self._bound_s)
        self._producer.poll(0)
        if self._watching:
            self._see_the_end()
        self.is_clean = True

    def _noted(self, error: Any, message: Any) -> None:
        """Note where the record came to stand."""
        self._delivered += 1
        if error is None:
            place = message.topic(), message.partition()
            at = message.offset()  # a repeated delivery may not tell it
            before = self._written.get(place, at)
            self._written[place] = at if at > before or at < 0 else before

    def _noting(self, on_delivery: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
        def delivered(error: Any, message: Any) -> None:
            self._noted(error, message)
            on_delivery(error, message)

        return delivered

    def _see_the_end(self) -> None:
        """Wait until readers may pass what was written, in every partition.

        Raises:
            InDoubtError, EndLostError: see `commit`.
        """
        for _ in range(int(self._timeout_s / _LISTEN_EVERY_S)):
            if self._delivered >= self._produced:
                break
            self._doubtless(self._producer.poll, _LISTEN_EVERY_S)
        if self._delivered < self._produced or min(self._written.values(), default=0) < 0:
            raise InDoubtError("the client did not say where the records of a transaction stand")
        self._reach = self._reach or Reach(self._settings)
        unreached = self._reach.unreached(self._written, self._timeout_s)
        if unreached:
            topic, partition = min(unreached)
            raise EndLostError(
                f"the end of a committed transaction did not reach {topic} partition {partition}"
            )

    def discard(self) -> None:
        """Throw the producer away without waiting for anything."""
        if self._reach is not None:
            self._reach.close()
        if self._hangs:
            return  # closing it under a call would be worse: that call lets go of it, if ever
        with suppress(Exception):
            self._producer.purge()
        with suppress(Exception), warnings.catch_warnings():
            # It would warn that it could not abort what is in doubt anyway.
            warnings.simplefilter("ignore", RuntimeWarning)
            self._producer.close()

    def _in_time(self, call: Callable[[], Any]) -> None:
        failures: list[Exception] = []

        def run() -> None:
            try:
                call()
            except Exception as error:
                failures.append(error)

        thread = threading.Thread(target=run, daemon=True, name="send offsets")
        thread.start()
        for _ in range(int(self._timeout_s / _LISTEN_EVERY_S)):
            thread.join(_LISTEN_EVERY_S)
            if not thread.is_alive():
                break
            self._producer.poll(0)  # what the client says of its connections is heard meanwhile
        else:
            raise _HangsError(f"no answer in {self._timeout_s} s")
        if failures:
            raise failures[0]

    def _doubtless(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return call(*args, **kwargs)
        except Exception as error:
            raise _doubt(error) from None


def fence(settings: Settings, transactional_id: str) -> None:
    """Make sure that nobody can commit with this id any more; its open transaction is aborted.

    Raises:
        InDoubtError: it could not be fenced; whoever needs that has to try again.
    """
    TransactionalProducer(settings, "fence", transactional_id=transactional_id).discard()


def _warn_once(brokers: list[str]) -> None:
    if unknown := set(brokers) - _warned_of:
        _warned_of.update(unknown)
        _log.warning(
            "brokers of Kafka 4.3 or later",
            brokers=sorted(unknown),
            next="4.3.0, 4.3.1 and 4.4.0 lose ends of transactions: use 4.2.2 (README)",
        )


def _sizes(largest_bytes: int) -> dict[str, int]:
    return {
        "batch.size": min(_BATCH_BYTES, largest_bytes),
        "message.max.bytes": min(_MOST_BYTES, max(_BATCH_BYTES, largest_bytes)),
    }


class _HangsError(Exception):
    """A call did not come back."""


def _doubt(error: Exception) -> InDoubtError:
    said = error.args[0] if isinstance(error, KafkaException) else None
    return InDoubtError(_describe(error), said if isinstance(said, KafkaError) else None)


def _describe(error: Exception) -> str:
    return f"Kafka: {type(error).__name__}: {error}"
