"""Every disagreement, one row each, with the records that show it.

Invariant: each count of `judged` that is no agreement is found again here, message by message where
the records tell which, else slice by slice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from saec.audit.books import Books
from saec.audit.derive import expected
from saec.audit.scope import Scope
from saec.contracts.events import Channel, bits_to_channels


class Kind(StrEnum):
    """What disagrees. Stable: kinds are added, never changed."""

    MISSING = "missing"
    DUPLICATE = "duplicate"
    EARLY = "early"
    LATE = "late"
    AFTER_EXPIRY = "after_expiry"
    STOPPED_BUT_SENT = "stopped_but_sent"
    SKIPPED_BUT_SENT = "skipped_but_sent"
    UNREQUESTED = "unrequested"
    ALTERED = "altered"
    UNRECORDED = "unrecorded"
    UNANSWERED = "unanswered"
    ANSWERED_TWICE = "answered_twice"
    ANSWER_TO_NOTHING = "answer_to_nothing"
    BROKEN_LEDGER = "broken_ledger"
    FOREIGN = "foreign"
    UNJUDGED = "unjudged"
    NOT_STORED = "not_stored"
    STORED_WITHOUT_RECORD = "stored_without_record"
    STORED_OTHERWISE = "stored_otherwise"
    NOT_PENDING = "not_pending"
    PENDING_THOUGH_DONE = "pending_though_done"
    CUSTOMER_OTHERWISE = "customer_otherwise"
    STORE_POSITION = "store_position"
    UNHEARD = "unheard"


MEANING = {
    Kind.MISSING: "expected, and in no topic",
    Kind.DUPLICATE: "more than once in its topic",
    Kind.EARLY: "dispatched before it was due",
    Kind.LATE: "dispatched later than the bound",
    Kind.AFTER_EXPIRY: "dispatched after it expired",
    Kind.STOPPED_BUT_SENT: "dispatched, although a cancel was answered that it is stopped",
    Kind.SKIPPED_BUT_SENT: "dispatched, although the ledger counts it as skipped",
    Kind.UNREQUESTED: "dispatched, and no accepted request asks for it",
    Kind.ALTERED: "not what was asked for: content, customer, channel, key or address",
    Kind.UNRECORDED: "in a channel's topic, and not in the ledger",
    Kind.UNANSWERED: "a record of saec.requests that was never answered",
    Kind.ANSWERED_TWICE: "a record of saec.requests with more than one answer",
    Kind.ANSWER_TO_NOTHING: "an answer to a record that is not there",
    Kind.BROKEN_LEDGER: "batches that do not follow each other, or a slice that is there twice",
    Kind.FOREIGN: "a record that is not SAEC's, or of a schema that is not known",
    Kind.UNJUDGED: "what retention took away leaves open what became of it",
    Kind.NOT_STORED: "accepted, answered or dispatched, and PostgreSQL has no row of it",
    Kind.STORED_WITHOUT_RECORD: "a row of PostgreSQL that no record of the topics asks for",
    Kind.STORED_OTHERWISE: "a row of PostgreSQL that is not what its record says",
    Kind.NOT_PENDING: "neither dispatched nor stopped, and not pending in PostgreSQL",
    Kind.PENDING_THOUGH_DONE: "pending in PostgreSQL, although dispatched or stopped",
    Kind.CUSTOMER_OTHERWISE: "in PostgreSQL's registry otherwise than in saec.registry",
    Kind.UNHEARD: "a cancel that came after its request, and was answered UNKNOWN_REQUEST for good",
    Kind.STORE_POSITION: "PostgreSQL has not read as far as it must, or farther than there is",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A record."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class Finding:
    """A disagreement about so many messages, and the records that show it."""

    kind: Kind
    messages: int
    places: tuple[Place, ...]
    request_id: UUID | None = None
    campaign_id: str | None = None
    channel: Channel | None = None
    customer_id: str | None = None
    due_ms: int | None = None
    detail: str | None = None


_TABLE = """
    CREATE TABLE findings (
        kind VARCHAR, request_id UUID, campaign_id VARCHAR, channel UTINYINT, due_ms BIGINT,
        customer_id VARCHAR, messages BIGINT,
        places STRUCT(topic VARCHAR, partition INTEGER, "offset" BIGINT)[], detail VARCHAR)
"""
_FLAGGED = """
    CREATE TABLE flagged AS
    SELECT *, CASE WHEN fate = 'missing' THEN lacking + rest ELSE 0 END AS missing FROM judged
    WHERE duplicate > 0 OR (lacking + rest > 0 AND fate <> 'awaited') OR skipped_but_sent > 0
          OR stopped_but_sent > 0 OR unrecorded > 0 OR early OR late OR after_expiry OR altered
"""
_SUSPECT = """
    CREATE TABLE suspects AS
    SELECT f.*, e.customer_id, e.message_id, c.topic AS sent_topic, s.partition AS sent_partition,
           s."offset" AS sent_offset, s.stamped_ms, s.dispatched_ms,
           NOT s.whole OR rc.altered OR rc.no IS DISTINCT FROM no
               OR s.customer IS DISTINCT FROM e.customer AS altered_here
    FROM ({expected}) e JOIN flagged f USING (no, channel, slice_no)
    LEFT JOIN sent s USING (message_id)
    LEFT JOIN read_contents rc USING (content_no)
    LEFT JOIN channel_topics c ON c.channel = s.topic
"""
_OF_REQUEST = (
    "{'topic': getvariable('requests_topic'), 'partition': partition, 'offset': \"offset\"}"
)
_OF_SENT = "{'topic': sent_topic, 'partition': sent_partition, 'offset': sent_offset}"
_IN_LEDGER = """
    coalesce((SELECT list({'topic': getvariable('ledger_topic'), 'partition': l.shard,
                           'offset': l."offset"} ORDER BY l."offset")
              FROM slices l WHERE l.request_id = f.request_id AND l.slice_no = f.slice_no), [])
"""
_SENT_OF_UNIT = f"""
    coalesce((SELECT list({_OF_SENT} ORDER BY sent_partition, sent_offset) FROM suspects s
              WHERE (s.no, s.channel, s.slice_no) = (f.no, f.channel, f.slice_no)
                    AND sent_offset IS NOT NULL), [])
"""


def _of_sent(kind: Kind, condition: str, detail: str = "NULL") -> str:
    """A finding for each message in a topic of which a condition is true."""
    return f"""
        SELECT '{kind}', request_id, campaign_id, channel, due_ms, customer_id, 1, [{_OF_SENT}],
               {detail}
        FROM suspects WHERE sent_offset IS NOT NULL AND {condition}
    """


def _of_unit(kind: Kind, count: str, places: str, detail: str = "NULL") -> str:
    """A finding for each slice and channel of which so many messages are concerned."""
    return f"""
        SELECT '{kind}', request_id, campaign_id, channel, due_ms, NULL, {count},
               list_concat([{_OF_REQUEST}], {places}), {detail}
        FROM flagged f WHERE {count} > 0
    """


_KINDS = [
    # Who is missing can be told where nobody else of the slice is absent for another reason.
    f"""
        SELECT '{Kind.MISSING}', request_id, campaign_id, channel, due_ms, customer_id, 1,
               [{_OF_REQUEST}], NULL
        FROM suspects WHERE sent_offset IS NULL AND missing > 0 AND ledger_skips + stopped = 0
    """,
    f"""
        SELECT '{Kind.MISSING}', request_id, campaign_id, channel, due_ms, NULL, missing,
               list_concat([{_OF_REQUEST}], {_IN_LEDGER}),
               'slice ' || slice_no || ': the records do not tell which customers'
        FROM flagged f WHERE missing > 0 AND ledger_skips + stopped > 0
    """,
    f"""
        SELECT '{Kind.DUPLICATE}', any_value(request_id), any_value(campaign_id), channel,
               any_value(due_ms), any_value(customer_id), count(*) - 1,
               list({_OF_SENT} ORDER BY stamped_ms, sent_partition, sent_offset), NULL
        FROM suspects WHERE sent_offset IS NOT NULL GROUP BY message_id, channel HAVING count(*) > 1
    """,
    _of_sent(Kind.EARLY, "least(stamped_ms, dispatched_ms) < due_ms",
             "(due_ms - least(stamped_ms, dispatched_ms)::HUGEINT) || ' ms early'"),
    _of_sent(Kind.LATE, "dispatched_ms > wanted_ms + getvariable('late_ms')",
             "(dispatched_ms - wanted_ms) || ' ms late'"),
    _of_sent(Kind.AFTER_EXPIRY, "dispatched_ms >= expires_ms"),
    _of_sent(Kind.ALTERED, "altered_here"),
    # What only the ledger tells: its messages are not kept, or say something else.
    _of_unit(Kind.EARLY, "CASE WHEN told_ms < due_ms AND (NOT covered OR first_ms >= due_ms) "
             "THEN dispatched ELSE 0 END", _IN_LEDGER, "'by the ledger'"),
    _of_unit(Kind.LATE, "CASE WHEN told_ms > wanted_ms + getvariable('late_ms') "
             "AND (NOT covered OR last_ms <= wanted_ms + getvariable('late_ms')) "
             "THEN dispatched ELSE 0 END", _IN_LEDGER, "'by the ledger'"),
    _of_unit(Kind.AFTER_EXPIRY, "CASE WHEN told_ms >= expires_ms THEN from_ledger ELSE 0 END",
             _IN_LEDGER, "'by the ledger'"),
    _of_unit(Kind.STOPPED_BUT_SENT, "stopped_but_sent",
             f"CASE WHEN covered THEN {_SENT_OF_UNIT} ELSE {_IN_LEDGER} END"),
    _of_unit(Kind.SKIPPED_BUT_SENT, "skipped_but_sent", _IN_LEDGER),
    _of_unit(Kind.UNRECORDED, "unrecorded", _SENT_OF_UNIT),
    _of_unit(Kind.UNJUDGED, "CASE WHEN fate = 'unjudged' THEN rest ELSE 0 END", "[]",
             "'the answer to its cancel, or that part of the ledger, is not kept any more'"),
]  # fmt: skip
_LEDGER_UNREQUESTED = f"""
    SELECT CASE WHEN cut THEN '{Kind.UNJUDGED}' ELSE '{Kind.UNREQUESTED}' END, s.request_id, NULL,
           NULL, NULL, NULL, s.messages,
           [{{'topic': getvariable('ledger_topic'), 'partition': shard, 'offset': "offset"}}],
           'by the ledger'
    FROM slices s ANTI JOIN accepted a ON a.request_id = s.request_id
    CROSS JOIN (SELECT count(*) > 0 AS cut FROM extents
                WHERE topic = getvariable('requests_topic') AND kept > 0) k
    WHERE s.request_id NOT IN (
        SELECT request_id FROM contents JOIN sent USING (content_no) WHERE request_id IS NOT NULL)
"""
# Who asked long ago may have asked for something that is due a horizon later.
_NOT_KEPT = f"""
    SELECT '{Kind.UNJUDGED}', NULL, NULL, NULL, NULL, NULL, 0,
           [{{'topic': topic, 'partition': partition, 'offset': kept}}],
           'what was asked before is not kept'
    FROM extents
    WHERE topic = getvariable('requests_topic') AND kept > 0
          AND coalesce(getvariable('since_ms')
                       <= coalesce(oldest_ms, getvariable('as_of_ms')) + getvariable('horizon_ms'),
                       true)
"""
_ANSWER_TO_NOTHING = f"""
    SELECT '{Kind.ANSWER_TO_NOTHING}', a.request_id, NULL, NULL, NULL, NULL, 0,
           [{{'topic': getvariable('status_topic'), 'partition': a.partition,
              'offset': a."offset"}}],
           'it names partition ' || source_partition || ', offset ' || source_offset
    FROM answers a LEFT JOIN asked k
         ON (k.partition, k."offset") = (a.source_partition, a.source_offset)
    LEFT JOIN extents e
         ON e.topic = getvariable('requests_topic') AND e.partition = a.source_partition
    WHERE k.kind IS NULL AND a.source_offset >= coalesce(e.kept, 0)
"""
_BROKEN_LEDGER = f"""
    WITH chain AS (
        SELECT *, lead(kind) OVER shard AS next_kind, lead(batch_no) OVER shard AS next_no
        FROM batches WHERE kind <> 'taken' WINDOW shard AS (PARTITION BY shard ORDER BY "offset")),
    links AS (
        SELECT *, lag(batch_no) OVER (PARTITION BY shard ORDER BY "offset") AS previous
        FROM batches WHERE kind = 'committed'),
    twice AS (
        SELECT *, row_number() OVER (
            PARTITION BY request_id, slice_no ORDER BY "offset") AS nth FROM slices),
    broken AS (
        SELECT shard, "offset", NULL AS request_id, 0 AS messages,
               'batch ' || batch_no || ' was opened, and does not end' AS detail
        FROM chain WHERE kind = 'opened'
             AND (next_kind, next_no) IS DISTINCT FROM ('committed', batch_no)
        UNION ALL
        SELECT shard, "offset", NULL, 0, 'batch ' || batch_no || ' follows ' || previous
        FROM links WHERE batch_no <> previous::HUGEINT + 1
        UNION ALL
        SELECT shard, "offset", request_id, messages,
               'slice ' || slice_no || ' was dispatched before' FROM twice
        WHERE nth > 1 AND (getvariable('whole') OR request_id IN (SELECT request_id FROM accepted)))
    SELECT '{Kind.BROKEN_LEDGER}', request_id, NULL, NULL, NULL, NULL, messages,
           [{{'topic': getvariable('ledger_topic'), 'partition': shard, 'offset': "offset"}}],
           detail
    FROM broken
"""
# Of one partition offsets tell what came first; between two, the brokers' clocks.
_UNHEARD = f"""
    SELECT '{Kind.UNHEARD}', a.request_id, a.campaign_id, NULL, a.due_ms, NULL, 0,
           [{{'topic': getvariable('requests_topic'), 'partition': k.partition,
              'offset': k."offset"}},
            {{'topic': getvariable('requests_topic'), 'partition': a.partition,
              'offset': a."offset"}}], NULL
    FROM asked k JOIN cancels c ON (c.partition, c."offset") = (k.partition, k."offset")
    JOIN accepted a ON a.request_id = c.request_id
    JOIN requests r ON r.rowid = a.row_no
    WHERE k.kind = 'cancel' AND k.status = 'UNKNOWN_REQUEST' AND r.requester = c.requester
          AND CASE WHEN c.partition = a.partition THEN c."offset" > a."offset"
                   ELSE c.stamped_ms >= a.asked_ms END
          AND a.answer_to_come IS NOT TRUE AND a.stopped = 0
"""
_FOREIGN = f"""
    SELECT '{Kind.FOREIGN}', NULL, NULL, NULL, NULL, NULL, 0,
           [{{'topic': topic, 'partition': partition, 'offset': "offset"}}], reason
    FROM strangers WHERE topic <> getvariable('requests_topic')
"""


def _asked(kinds: str) -> str:
    # What was refused needs no answer that is kept: its record says why. Of a request it is open.
    return f"""
    SELECT CASE WHEN times > 1 THEN '{Kind.ANSWERED_TWICE}' WHEN gone THEN '{Kind.UNJUDGED}'
                ELSE '{Kind.UNANSWERED}' END,
           request_id, NULL, NULL, NULL, NULL, 0, [{_OF_REQUEST}],
           CASE WHEN times > 1 THEN times || ' answers' WHEN gone THEN 'its answer is not kept'
                WHEN to_come THEN 'ingest has not come to it' END
    FROM (SELECT *, to_come AND stamped_ms + getvariable('late_ms') >= getvariable('as_of_ms')
                    AS waits FROM asked) WHERE kind IN {kinds} AND (
        times > 1 OR ((status IS NULL OR firsts = 0) AND NOT waits AND NOT (gone AND (
            kind <> 'request' OR request_id IN (SELECT request_id FROM accepted)))))
"""


def _unrequested() -> str:
    return f"""
    SELECT CASE WHEN cut AND a.no IS NULL THEN '{Kind.UNJUDGED}' ELSE '{Kind.UNREQUESTED}' END,
           c.request_id, NULL, s.topic, c.due_ms, NULL, 1,
           [{{'topic': t.topic, 'partition': s.partition, 'offset': s."offset"}}],
           CASE WHEN a.no IS NOT NULL THEN 'the request is there, but not this message of it'
                WHEN cut THEN 'its request may have been deleted by retention' END
    FROM sent s JOIN contents c USING (content_no) JOIN read_contents r USING (content_no)
    JOIN channel_topics t ON t.channel = s.topic
    LEFT JOIN accepted a ON a.no = r.no
    CROSS JOIN (SELECT count(*) > 0 AS cut FROM extents
                WHERE topic = getvariable('requests_topic') AND kept > 0) k
    WHERE r.wanted AND NOT EXISTS (
        SELECT 1 FROM ({expected("accepted")}) e WHERE e.message_id = s.message_id)
"""


def find(books: Books, scope: Scope) -> None:
    """Write the table `findings` from what was derived."""
    books.rows("SET VARIABLE whole = ?", scope.whole)
    books.rows("SET VARIABLE since_ms = ?", scope.since_ms)
    books.run(_TABLE)
    books.run(_FLAGGED)
    about = "(SELECT * FROM accepted WHERE no IN (SELECT no FROM flagged))"
    books.run(_SUSPECT.format(expected=expected(about)))
    kinds = "('request', 'cancel', 'stranger')" if scope.whole else "('request')"
    wanted = [*_KINDS, _BROKEN_LEDGER, _FOREIGN, _NOT_KEPT, _UNHEARD, _asked(kinds)]
    if scope.whole:  # of a part of the requests it cannot be told what belongs to none
        wanted += [_ANSWER_TO_NOTHING, _LEDGER_UNREQUESTED]
    for sql in wanted:
        books.run(f"INSERT INTO findings {sql}")
    if not scope.whole or _more_than_expected(books):
        books.run(f"INSERT INTO findings {_unrequested()}")


def _more_than_expected(books: Books) -> bool:
    """Each expected message has its own id, so what was sent is there once, if it was expected."""
    matched = "SELECT coalesce(sum(records), 0) FROM units"
    return bool(books.rows(f"SELECT (SELECT count(*) FROM sent) <> ({matched})")[0][0])


def stream(books: Books) -> Iterator[Finding]:
    """The findings that were written, by kind, place and request."""
    columns = "messages, places, request_id, campaign_id, channel, customer_id, due_ms, detail"
    order = " ".join(f"WHEN '{kind}' THEN {place}" for place, kind in enumerate(Kind))
    pieces = books.stream(
        f"SELECT kind, {columns} FROM findings ORDER BY CASE kind {order} END, request_id, "
        "channel, customer_id, places"
    )
    for kind, messages, places, request_id, campaign, channel, customer, due_ms, detail in (
        row for piece in pieces for row in piece
    ):
        yield Finding(
            Kind(kind),
            messages,
            tuple(Place(place["topic"], place["partition"], place["offset"]) for place in places),
            request_id,
            campaign,
            None if channel is None else bits_to_channels(channel)[0],
            customer,
            due_ms,
            detail,
        )
