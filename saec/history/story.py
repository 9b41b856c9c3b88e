"""Puts the story of a request together, from where its traces stand.

PostgreSQL tells what was asked and cancelled and where those records stand; from there the ledger,
the answers and the messages are found by key and instant. Invariant: nothing is changed, and what
was not found is told, never left out.
"""

from dataclasses import dataclass
from uuid import UUID

from saec.history.answers import Answers
from saec.history.events import Event, Remark, Why, in_order
from saec.history.teller import Teller
from saec.kafka.seek import Seeker
from saec.settings import Settings
from saec.store import installation
from saec.store.engine import open_engine, transaction
from saec.store.history import Account, Trail, read_trail


@dataclass(frozen=True, slots=True)
class Story:
    """What happened to a request, in order.

    `account` is None when it is not stored. `records_read` is how many records were read for it.
    """

    request_id: UUID
    account: Account | None
    events: tuple[Event, ...]
    records_read: int = 0

    @property
    def contradicts(self) -> bool:
        """Whether two of the parts cannot both be right."""
        return any(isinstance(e, Remark) and e.why is Why.CONTRADICTION for e in self.events)


def story(settings: Settings, request_id: UUID, *, since_ms: int | None = None) -> Story:
    """The story of a request.

    With `since_ms` (epoch milliseconds) all statuses from then on are read, however many there
    are: that also finds repetitions, which are not stored, and requests that were refused. Without
    it, a request that is not stored has no events.

    Raises:
        StoreUnavailableError, BrokerUnavailableError: no answer.
        ConfigurationError: the database is not this installation's.
    """
    trail = _read_trail(settings, request_id)
    if trail is None and since_ms is None:
        return Story(request_id, None, ())
    with Seeker(settings) as seeker:
        teller = Teller(settings, seeker, Answers(request_id, settings.topics.status))
        events = teller.tell(trail, since_ms)
        account = None if trail is None else trail.account
        return Story(request_id, account, in_order(events), seeker.records_read)


def _read_trail(settings: Settings, request_id: UUID) -> Trail | None:
    engine = open_engine(settings.database_url, application="saec-history")
    try:
        with transaction(engine, snapshot=True) as connection:
            shards = installation.read(connection, settings.topic_prefix).shards
            return read_trail(connection, request_id, shards)
    finally:
        engine.dispose()
