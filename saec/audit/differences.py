"""Where PostgreSQL and the topics disagree, row by row: the findings of `saec audit --store`.

Invariant: a row that differs is one finding, which names tables and columns and never a value; rows
that cannot be compared are counted as unjudged, table by table.
"""

from collections.abc import Mapping

from saec.audit.books import Books
from saec.audit.findings import Kind
from saec.ingest.slices import MESSAGE_SCHEMA_VERSION

_UNJUDGED = """
    CREATE TABLE not_compared ("table" VARCHAR, "rows" BIGINT)
"""


def _place(topic: str, partition: str, offset: str) -> str:
    return f"[{{'topic': getvariable('{topic}'), 'partition': {partition}, 'offset': {offset}}}]"


def _differ(expected: Mapping[str, str], stands: str = "p") -> str:
    """The columns that are not what they must be, as text; empty where all are."""
    each = ", ".join(
        f"CASE WHEN {stands}.{column} IS DISTINCT FROM {value} THEN '{column}' END"
        for column, value in expected.items()
    )
    return f"array_to_string(list_filter([{each}], lambda name: name IS NOT NULL), ', ')"


def _finding(kind: str, source: str, **columns: str) -> str:
    """A finding for each row of a source, its columns as SQL; what is not given is null."""
    given = {"messages": "0", "places": "[]", **columns}
    return f"""
        INSERT INTO findings (kind, {", ".join(given)})
        SELECT {kind}, {", ".join(given.values())} FROM {source}
    """


def _kind(kind: Kind) -> str:
    return f"'{kind}'"


_AT_SOURCE = _place("requests_topic", "partition", '"offset"')
_AT_ROW = _place("requests_topic", "source_partition", "source_offset")
# Below 0: of an earlier Kafka, see `saec recover --new-cluster`.
_GONE = """
    (source_partition < 0 OR source_offset < (
        SELECT kept FROM known k
        WHERE k.topic = getvariable('requests_topic') AND k.partition = source_partition))
"""
_CUT_OFF = """
    (SELECT bool_or(kept > 0) FROM known WHERE topic = getvariable('requests_topic'))
    OR (SELECT bool_or(gap_ms IS NOT NULL) FROM ledgers)
    OR (SELECT bool_or(source_partition < 0) FROM pg.requests)
"""

_POSITIONS = [
    """
    CREATE TABLE positions_compared AS
    SELECT topic, partition, coalesce(position, 0) AS stood, concat_ws('; ',
        CASE WHEN position > last THEN 'PostgreSQL has read up to offset ' || position
             || ', the topic ends at ' || last END,
        CASE WHEN before > coalesce(position, 0) THEN 'its group has read up to offset ' || before
             || ', PostgreSQL up to ' || coalesce(position::VARCHAR, 'none') END) AS detail
    FROM known
    UNION ALL
    SELECT topic, partition, next_offset, 'there is no such partition'
    FROM pg.positions ANTI JOIN known USING (topic, partition)
    """,
    _finding(
        _kind(Kind.STORE_POSITION),
        "positions_compared WHERE detail <> ''",
        detail="'positions: ' || detail",
        places="[{'topic': topic, 'partition': partition, 'offset': stood}]",
    ),
]
_SHARDS = [
    """
    CREATE TABLE shards_compared AS
    WITH behind AS (
        SELECT b.shard, max(b.batch_no) AS batch_no FROM batches b JOIN ledgers l USING (shard)
        LEFT JOIN pg.claims c ON (c.shard, c.batch_no) = (b.shard, b.batch_no)
        WHERE b.kind = 'committed' AND b.batch_no > coalesce(l.batch_no, 0)
              AND b."offset" < l.before AND c.shard IS NULL
        GROUP BY b.shard)
    SELECT shard, coalesce(l.ledger_offset, 0) AS stood, concat_ws('; ',
        CASE WHEN NOT stands THEN 'its row is not there' END,
        CASE WHEN ledger_offset > last THEN 'applied up to offset ' || ledger_offset
             || ', the ledger ends at ' || last END,
        CASE WHEN l.batch_no <> greatest(below, base, 0) AND (base IS NOT NULL OR kept = 0)
             THEN 'stands at batch ' || l.batch_no || ', the ledger below its offset at '
                  || greatest(below, base, 0) END,
        CASE WHEN b.batch_no IS NOT NULL THEN 'batch ' || b.batch_no
             || ' of the ledger is neither applied nor claimed' END,
        CASE WHEN epoch < epoch_there THEN 'the ledger has a later epoch' END) AS detail
    FROM ledgers l LEFT JOIN behind b USING (shard)
    UNION ALL
    SELECT shard, ledger_offset, 'the ledger has no such partition'
    FROM pg.shards ANTI JOIN ledgers USING (shard)
    """,
    _finding(
        _kind(Kind.STORE_POSITION),
        "shards_compared WHERE detail <> ''",
        detail="'shards: ' || detail",
        places=_place("ledger_topic", "shard", "stood"),
    ),
]
_CLAIMS = [
    """
    CREATE TABLE claims_compared AS
    WITH rows_of AS (
        SELECT c.shard, c.batch_no, c.seq, p.request_id, p.slice_no,
               count(*) OVER (PARTITION BY c.shard, c.seq) AS times
        FROM pg.claims c LEFT JOIN pg.pending p USING (shard, seq)),
    each_claim AS (
        SELECT r.shard, r.batch_no, bool_and(request_id IS NOT NULL AND times = 1) AS whole,
               count(s.request_id) AS led, count(*) AS named
        FROM rows_of r LEFT JOIN slices s USING (shard, batch_no, request_id, slice_no)
        GROUP BY r.shard, r.batch_no),
    -- After its mark it may be the next batch of that number: the claim was given up.
    in_ledger AS (
        SELECT s.shard, s.batch_no, count(*) AS slices FROM slices s JOIN ledgers l USING (shard)
        WHERE s."offset" < l.before GROUP BY ALL)
    SELECT e.*, l.ledger_offset,
           e.batch_no = l.batch_no + row_number() OVER (PARTITION BY e.shard ORDER BY e.batch_no)
               AS follows,
           i.slices IS NULL OR (e.led = i.slices AND e.named = i.slices) AS agrees
    FROM each_claim e LEFT JOIN ledgers l USING (shard)
    LEFT JOIN in_ledger i ON (i.shard, i.batch_no) = (e.shard, e.batch_no)
    """,
    _finding(
        f"CASE WHEN follows THEN '{Kind.STORED_OTHERWISE}' ELSE '{Kind.STORED_WITHOUT_RECORD}' END",
        "claims_compared WHERE NOT (coalesce(follows, false) AND whole AND agrees)",
        detail="""'claims: batch ' || batch_no || CASE
            WHEN NOT coalesce(follows, false) THEN ' does not follow what was applied'
            WHEN NOT whole THEN ' names a slice that is not pending, or twice'
            ELSE ' names other slices than the ledger' END""",
        places=_place("ledger_topic", "shard", "coalesce(ledger_offset, 0)"),
    ),
]
_OF_REQUEST = {
    "requester": "w.requester",
    "campaign_id": "w.campaign_id",
    "channels": "w.channels",
    "lane": "w.lane",
    "due_at_ms": "w.due_ms",
    "expires_at_ms": "w.expires_ms",
    "recipients": "w.recipients",
    "messages": "w.messages",
    "slices": "CASE WHEN w.unsure THEN p.slices ELSE w.slices END",
    "content_hash": "w.content_hash",
    "source_partition": "w.partition",
    "source_offset": 'w."offset"',
    "accepted_at_ms": "w.asked_ms",
}
_REQUESTS = [
    _finding(
        _kind(Kind.NOT_STORED),
        "wanted WHERE must AND NOT stands",
        detail="'requests'",
        places=_AT_SOURCE,
        request_id="request_id",
        messages="messages",
        campaign_id="campaign_id",
        due_ms="due_ms",
    ),
    _finding(
        _kind(Kind.STORED_OTHERWISE),
        f"""(SELECT w.*, {_differ(_OF_REQUEST)} AS differ
             FROM wanted w JOIN pg.requests p USING (request_id)) WHERE differ <> ''""",
        detail="'requests: ' || differ",
        places=_AT_SOURCE,
        request_id="request_id",
        messages="messages",
        campaign_id="campaign_id",
        due_ms="due_ms",
    ),
    _finding(
        _kind(Kind.STORED_WITHOUT_RECORD),
        f"pg.requests ANTI JOIN wanted USING (request_id) WHERE NOT coalesce({_GONE}, false)",
        detail="'requests'",
        places=_AT_ROW,
        request_id="request_id",
        messages="messages",
    ),
    f"""
    INSERT INTO not_compared
    SELECT 'requests', count(*) FROM pg.requests ANTI JOIN wanted USING (request_id)
    WHERE coalesce({_GONE}, false)
    UNION ALL SELECT 'requests', count(*) FROM wanted WHERE unsure
    """,
]
_OF_CANCEL = {
    "request_id": "c.request_id",
    "status": "coalesce(c.status, p.status)",
    "decides": "CASE WHEN c.status IS NULL THEN p.decides ELSE c.decides END",
    "recipients_stopped": "CASE WHEN c.status IS NULL THEN p.recipients_stopped "
    "ELSE c.people_stopped END",
    "messages_stopped": "CASE WHEN c.status IS NULL THEN p.messages_stopped ELSE c.stopped END",
    "requester": "c.requester",
    "appended_at_ms": "c.stamped_ms",
    "late": "CASE WHEN c.status IS NULL THEN p.late ELSE c.late END",
}
_BY_SOURCE = '(p.source_partition, p.source_offset) = (c.partition, c."offset")'
_CANCELS = [
    _finding(
        _kind(Kind.NOT_STORED),
        "cancelling WHERE status IS NOT NULL AND NOT stands",
        detail="'cancels'",
        places=_AT_SOURCE,
        request_id="request_id",
    ),
    _finding(
        _kind(Kind.STORED_OTHERWISE),
        f"""(SELECT c.*, {_differ(_OF_CANCEL)} AS differ
             FROM cancelling c JOIN pg.cancels p ON {_BY_SOURCE}) WHERE differ <> ''""",
        detail="'cancels: ' || differ",
        places=_AT_SOURCE,
        request_id="request_id",
    ),
    _finding(
        _kind(Kind.STORED_WITHOUT_RECORD),
        f"pg.cancels p ANTI JOIN cancelling c ON {_BY_SOURCE} WHERE NOT coalesce({_GONE}, false)",
        detail="'cancels'",
        places=_AT_ROW,
        request_id="request_id",
    ),
    f"""
    INSERT INTO not_compared
    SELECT 'cancels', count(*) FROM pg.cancels p ANTI JOIN cancelling c ON {_BY_SOURCE}
    WHERE coalesce({_GONE}, false)
    UNION ALL SELECT 'cancels', count(*) FROM cancelling WHERE status IS NULL AND gone
    """,
]
_OF_SLICE = {
    "shard": "s.shard",
    "lane": "s.lane",
    "due_at_ms": "s.due_ms",
    "expires_at_ms": "s.expires_ms",
    "channels": "s.channels",
    "recipients": "s.recipients",
    "messages": "s.messages",
    "requester": "s.requester",
    "campaign_id": "s.campaign_id",
    "traceparent": "s.traceparent",
    "people": "s.customers_there",
    "customers": "s.customers",
    "schema_version": str(MESSAGE_SCHEMA_VERSION),
    "message": "s.message",
    "misplaced": "false",
}
_PENDING = [
    f"""
    CREATE TABLE pending_compared AS
    WITH p AS (
        SELECT *, coalesce(seq <= lag(seq) OVER (PARTITION BY request_id ORDER BY slice_no), false)
                   AS misplaced
        FROM pg.pending)
    SELECT request_id, slice_no, s.request_id IS NOT NULL AS is_slice,
           p.request_id IS NOT NULL AS is_row, s.stands, s.partition, s."offset", s.campaign_id,
           s.due_ms, coalesce(s.messages, p.messages) AS messages, s.done, s.cancelled, s.in_gap,
           s.ledger_shard, s.ledger_offset, s.led,
           replace(replace({_differ(_OF_SLICE)}, 'people, customers', 'customers'),
                   'misplaced', 'seq') AS differ
    FROM standing s FULL JOIN p USING (request_id, slice_no)
    WHERE p.request_id IS NOT NULL OR NOT (s.done OR s.cancelled)
    """,
    _finding(
        _kind(Kind.NOT_PENDING),
        "pending_compared WHERE NOT is_row AND stands AND NOT in_gap",
        detail="'slice ' || slice_no",
        places=_AT_SOURCE,
        request_id="request_id",
        messages="messages",
        campaign_id="campaign_id",
        due_ms="due_ms",
    ),
    _finding(
        _kind(Kind.PENDING_THOUGH_DONE),
        "pending_compared WHERE is_row AND (done OR cancelled)",
        detail="""'slice ' || slice_no || CASE WHEN done THEN ': the ledger has it'
                  ELSE ': a cancel stopped it' END""",
        places=f"""list_concat({_AT_SOURCE}, CASE WHEN done
                   THEN {_place("ledger_topic", "ledger_shard", "ledger_offset")} ELSE [] END)""",
        request_id="request_id",
        messages="messages",
        campaign_id="campaign_id",
        due_ms="due_ms",
    ),
    _finding(
        _kind(Kind.STORED_OTHERWISE),
        "pending_compared WHERE is_row AND is_slice AND NOT (done OR cancelled) AND differ <> ''",
        detail="'pending: slice ' || slice_no || ': ' || differ",
        places=_AT_SOURCE,
        request_id="request_id",
        messages="messages",
        campaign_id="campaign_id",
        due_ms="due_ms",
    ),
    f"""
    CREATE TABLE strange_pending AS
    SELECT c.*, coalesce({_CUT_OFF}, false) AND w.request_id IS NULL AS gone
    FROM pending_compared c LEFT JOIN wanted w USING (request_id) WHERE NOT is_slice
    """,
    _finding(
        _kind(Kind.STORED_WITHOUT_RECORD),
        "strange_pending WHERE NOT gone",
        detail="'pending: slice ' || slice_no",
        request_id="request_id",
        messages="messages",
    ),
    """
    INSERT INTO not_compared
    SELECT 'pending', count(*) FROM strange_pending WHERE gone
    UNION ALL
    SELECT 'pending', count(*) FROM pending_compared
    WHERE is_slice AND in_gap AND NOT (led OR cancelled)
    """,
]
_SKIPS = [
    f"""
    CREATE TABLE skips_compared AS
    WITH told AS (
        SELECT k.request_id, k.slice_no, k.channel, k.reason, sum(k.messages) AS messages,
               any_value(k.shard) AS shard, min(k."offset") AS "offset"
        FROM skips k SEMI JOIN (SELECT * FROM done WHERE done) d USING (request_id, slice_no)
        GROUP BY ALL)
    SELECT request_id, slice_no, channel, reason, t.request_id IS NOT NULL AS is_told,
           p.request_id IS NOT NULL AS is_row, t.messages IS DISTINCT FROM p.messages AS differs,
           coalesce(t.messages, p.messages) AS messages, t.shard, t."offset",
           coalesce(w.in_gap, {_CUT_OFF}, false) AS gone
    FROM told t FULL JOIN pg.skips p USING (request_id, slice_no, channel, reason)
    LEFT JOIN wanted w USING (request_id)
    WHERE t.messages IS DISTINCT FROM p.messages
    """.replace("GROUP BY ALL", "GROUP BY k.request_id, k.slice_no, k.channel, k.reason"),
    _finding(
        f"""CASE WHEN NOT is_row THEN '{Kind.NOT_STORED}'
                 WHEN is_told THEN '{Kind.STORED_OTHERWISE}'
                 ELSE '{Kind.STORED_WITHOUT_RECORD}' END""",
        "skips_compared WHERE is_told OR NOT gone",
        detail="""'skips' || CASE WHEN is_told AND is_row THEN ': messages' ELSE '' END
                  || ': slice ' || slice_no || ', ' || reason""",
        places=f"""CASE WHEN is_told THEN {_place("ledger_topic", "shard", '"offset"')}
                   ELSE [] END""",
        request_id="request_id",
        messages="messages",
    ),
    """
    INSERT INTO not_compared
    SELECT 'skips', count(*) FROM skips_compared WHERE NOT is_told AND gone
    """,
]
_OF_CUSTOMER = {
    "email": "n.email",
    "phone": "n.phone",
    "opted_out": "n.opted_out",
    "erased": "n.erased",
    "appended_at_ms": "n.stamped_ms",
    "source_partition": "n.partition",
    "source_offset": 'n."offset"',
}
# What stands in PostgreSQL goes to saec.registry a little later, and what stood there may be
# compacted away by then. Of an erased customer nothing need be left.
_CUSTOMERS = [
    f"""
    CREATE TABLE customers_compared AS
    WITH later AS (
        SELECT r.customer_id, r.partition, max(r."offset") AS "offset",
               bool_or(r."offset" >= k.upto) AS to_come
        FROM registered r
        JOIN known k ON k.topic = getvariable('customers_topic') AND k.partition = r.partition
        GROUP BY r.customer_id, r.partition),
    compared AS (
        SELECT customer_id, n.customer_id IS NOT NULL AS is_record,
               p.customer_id IS NOT NULL AS is_row, n.partition, n."offset",
               p.source_partition, p.source_offset, p.erased,
               k.before > 0 AND p.source_offset >= k.before AS on_its_way,
               {_differ(_OF_CUSTOMER)} AS differ,
               (p.appended_at_ms, p.source_partition, p.source_offset)
                   > (n.stamped_ms, n.partition, n."offset") AS newer
        FROM registry n FULL JOIN pg.customers p USING (customer_id)
        LEFT JOIN known k
             ON k.topic = getvariable('customers_topic') AND k.partition = p.source_partition)
    SELECT c.*, (g.customer_id IS NOT NULL OR coalesce(on_its_way, false))
                AND (newer OR NOT is_record) AND NOT EXISTS (
                    SELECT 1 FROM registered r
                    WHERE (r.partition, r."offset") = (source_partition, source_offset)) AS gone,
           coalesce(g.to_come, false) OR coalesce(on_its_way, false) AS to_come
    FROM compared c LEFT JOIN later g ON g.customer_id = c.customer_id
         AND g.partition = c.source_partition AND g."offset" > c.source_offset
    WHERE NOT is_row OR (is_record AND differ <> '') OR NOT (is_record OR erased)
    """,
    _finding(
        _kind(Kind.CUSTOMER_OTHERWISE),
        "customers_compared WHERE NOT coalesce(gone, false)",
        detail="""CASE WHEN NOT is_row THEN 'not in the registry'
                       WHEN NOT is_record THEN 'in the registry alone' ELSE differ END""",
        places=f"""CASE WHEN is_record
                   THEN {_place("customers_topic", "partition", '"offset"')} ELSE [] END""",
        customer_id="customer_id",
    ),
    """
    INSERT INTO not_compared
    SELECT 'customers', count(*) FROM customers_compared WHERE gone AND NOT to_come
    """,
]
_NAME_UNJUDGED = _finding(
    _kind(Kind.UNJUDGED),
    """(SELECT "table", sum("rows")::BIGINT AS "rows" FROM not_compared GROUP BY "table")
       WHERE "rows" > 0""",
    detail="""'PostgreSQL, ' || "table" || ': ' || "rows" || ' rows of which the records are not '
              || 'kept any more'""",
)


def find(books: Books) -> None:
    """Write what differs into `findings`, and what was not compared into `not_compared`."""
    books.run(_UNJUDGED)
    tables = (_POSITIONS, _SHARDS, _CLAIMS, _REQUESTS, _CANCELS, _PENDING, _SKIPS, _CUSTOMERS)
    for step in (sql for table in tables for sql in table):
        books.run(step)
    books.run(_NAME_UNJUDGED)
