"""What PostgreSQL must hold, derived from the topics up to where PostgreSQL says that it has come.

Its own positions say which records it has taken in, and which batches it has applied. Invariant: a
table derived here holds what each row must say; what depends on a record that is not kept any more
is marked, so that nobody takes it for equal.
"""

from collections.abc import Mapping

from saec.audit import differences
from saec.audit.books import Books
from saec.errors import Reason
from saec.ingest.slices import SLICE_BYTES
from saec.settings import Settings

# After its instant a message may still be on its way, for as long as a transaction may last.
_MARGIN_MS = 120_000
# Of messages: what a stranger wrote may be any number, and is added up.
_MOST = 1_000_000_000

# `upto`: what is below it is stored. The group is never ahead of PostgreSQL.
_KNOWN = """
    CREATE TABLE known AS
    SELECT e.topic, e.partition, e.kept, e.last, p.next_offset AS position,
           coalesce(m.before, 0) AS before, greatest(coalesce(p.next_offset, 0), before) AS upto
    FROM extents e LEFT JOIN pg.positions p USING (topic, partition)
    LEFT JOIN marks m USING (topic, partition)
    WHERE e.topic IN (getvariable('requests_topic'), getvariable('customers_topic'))
"""
# `base`: the batch before the first that is kept. A sentinel names a batch that was applied.
_LEDGERS = f"""
    CREATE TABLE ledgers AS
    WITH held AS (
        SELECT b.shard,
               arg_min(CASE kind WHEN 'taken' THEN b.batch_no ELSE b.batch_no::HUGEINT - 1 END,
                       "offset") AS base,
               max(b.batch_no) FILTER (kind = 'committed' AND "offset" < p.ledger_offset) AS below,
               min(b.batch_no) FILTER (kind = 'committed' AND "offset" >= p.ledger_offset) AS above,
               max(b.epoch) FILTER ("offset" < m.before) AS epoch
        FROM batches b LEFT JOIN pg.shards p USING (shard)
        LEFT JOIN marks m ON m.topic = getvariable('ledger_topic') AND m.partition = b.shard
        GROUP BY b.shard),
    oldest AS (SELECT shard, min(dispatched_ms) AS at_ms FROM slices GROUP BY shard)
    SELECT e.partition AS shard, e.kept, e.last, m.before, p.shard IS NOT NULL AS stands,
           p.batch_no, p.ledger_offset, p.epoch, h.base, h.below, h.above, h.epoch AS epoch_there,
           CASE WHEN coalesce(h.base > 0, e.kept > 0)
                THEN least(coalesce(e.oldest_ms, o.at_ms, getvariable('as_of_ms')),
                           getvariable('as_of_ms')) + {_MARGIN_MS}
           END AS gap_ms
    FROM extents e LEFT JOIN pg.shards p ON p.shard = e.partition
    LEFT JOIN marks m USING (topic, partition)
    LEFT JOIN held h ON h.shard = e.partition LEFT JOIN oldest o ON o.shard = e.partition
    WHERE e.topic = getvariable('ledger_topic')
"""
# `done`: PostgreSQL has applied its batch, or must have: the ledger held it, and no claim names it.
_DONE = f"""
    CREATE TABLE done AS
    SELECT s.request_id, s.slice_no, any_value(s.shard) AS shard, min(s."offset") AS "offset",
           nullif(greatest(max(s.recipients), 0), 0) AS recipients,
           least(greatest(max(s.messages), 0), {_MOST}) AS messages,
           bool_or(coalesce(s.batch_no <= l.batch_no, false)
                   OR (c.batch_no IS NULL AND coalesce(s."offset" < l.before, false))) AS done
    FROM slices s LEFT JOIN ledgers l USING (shard)
    LEFT JOIN (SELECT DISTINCT shard, batch_no FROM pg.claims) c
        ON (c.shard, c.batch_no) = (s.shard, s.batch_no)
    GROUP BY s.request_id, s.slice_no
"""
# One row for each cancel that is or must be stored. A cancel that is no valid event has no row.
_CANCELLING = f"""
    CREATE TABLE cancelling AS
    WITH answered AS (
        SELECT source_partition AS partition, source_offset AS "offset", min("offset") AS said_at,
               coalesce(any_value(status) FILTER (late), any_value(status)) AS status,
               any_value(reason) AS reason, bool_or(late) AS late, max(stopped) AS stopped,
               max(people_stopped) AS people_stopped
        FROM answers GROUP BY ALL),
    -- Its row says already what is said with the answer to its request.
    waiting AS (
        SELECT DISTINCT request_id FROM asked WHERE kind = 'request' AND status IS NULL),
    given AS (
        SELECT a.* REPLACE (CASE WHEN p.late AND NOT a.late AND a.status = 'UNKNOWN_REQUEST'
                                      AND p.request_id IN (FROM waiting)
                                 THEN NULL ELSE a.status END AS status)
        FROM answered a LEFT JOIN pg.cancels p
            ON (p.source_partition, p.source_offset) = (a.partition, a."offset")),
    each_one AS (
        SELECT c.partition, c."offset", c.request_id, c.requester, c.stamped_ms, a.status, a.late,
               a.said_at, k.gone,
               c."offset" < known.upto AS must, p.source_offset IS NOT NULL AS stands,
               coalesce(p.decides, false) AS decides_there, p.messages_stopped AS stopped_there,
               CASE WHEN a.status = 'CANCELLED' THEN least(a.stopped, {_MOST}) ELSE 0 END
                   AS stopped,
               CASE WHEN a.status = 'CANCELLED' THEN a.people_stopped ELSE 0 END AS people_stopped
        FROM cancels c
        JOIN asked k ON k.kind = 'cancel' AND (k.partition, k."offset") = (c.partition, c."offset")
        JOIN known ON known.topic = getvariable('requests_topic') AND known.partition = c.partition
        LEFT JOIN given a ON (a.partition, a."offset") = (c.partition, c."offset")
        LEFT JOIN pg.cancels p
            ON (p.source_partition, p.source_offset) = (c.partition, c."offset")
        WHERE c.request_id IS NOT NULL AND (
            a.status IS NULL
            OR a.status IN ('CANCELLED', 'TOO_LATE', 'ALREADY_CANCELLED', 'UNKNOWN_REQUEST')
            OR (a.status = 'REJECTED' AND a.reason = '{Reason.OTHER_REQUESTER}'))),
    -- Which partition's cancel came first is not known; of one partition it is.
    placed AS (
        SELECT *, row_number() OVER (
            PARTITION BY request_id, status, partition ORDER BY "offset") = 1 AS first_there
        FROM each_one WHERE must OR stands)
    SELECT *, status = 'CANCELLED' OR (status = 'TOO_LATE' AND row_number() OVER (
                  PARTITION BY request_id, status
                  ORDER BY first_there DESC, decides_there DESC, said_at) = 1) AS decides
    FROM placed
"""
# What cancels stopped, as PostgreSQL knows it: of an answer that is not kept, or to come, its own.
_STOPPED = """
    CREATE TABLE stopped AS
    SELECT request_id, sum(CASE WHEN status IS NULL THEN coalesce(stopped_there, 0)
                                ELSE stopped END)::BIGINT AS stopped
    FROM cancelling WHERE status = 'CANCELLED' OR status IS NULL GROUP BY request_id
"""
# The record from which each request is, or must be, stored.
_SOURCES = """
    CREATE TABLE sources AS
    WITH candidates AS (
        SELECT a.request_id, row_no, a.partition, a."offset", a.asked_ms,
               CASE WHEN k.status IS NULL THEN 2 ELSE 0 END AS place
        FROM accepted a JOIN asked k USING (row_no)
        UNION ALL
        SELECT k.request_id, k.row_no, k.partition, k."offset", k.stamped_ms, 1
        FROM asked k JOIN pg.requests p ON p.request_id = k.request_id
             AND (p.source_partition, p.source_offset) = (k.partition, k."offset")
        WHERE k.kind = 'request' AND k.status IS NULL)
    SELECT * EXCLUDE (place) FROM candidates
    QUALIFY row_number() OVER (PARTITION BY request_id ORDER BY place) = 1
"""
# How each was cut: the ledger shows it, or the first slice where it stands, or the settings of now.
_CUT = """
    CREATE TABLE cut AS
    WITH sized AS (
        SELECT c.*, r.people, (r.channels & 7)::INTEGER AS personal,
               bit_count((r.channels & 7)::INTEGER)::INTEGER AS ways,
               ((r.channels & 8) <> 0)::INTEGER AS push, d.message_bytes
        FROM sources c JOIN requests r ON r.rowid = c.row_no
        JOIN details d ON (d.partition, d."offset") = (c.partition, c."offset")),
    seen AS (
        SELECT s.*, p.request_id IS NOT NULL AS stands, p.slices AS slices_there,
               CASE WHEN f.recipients = f.people
                         AND p.slices = (s.people::BIGINT + f.recipients - 1) // f.recipients + push
                    THEN f.recipients END AS by_pending,
               l.recipients AS by_ledger,
               greatest(1, least(getvariable('slice_recipients'),
                                 getvariable('slice_bytes') // greatest(1, message_bytes * ways)))
                   AS by_settings
        FROM sized s LEFT JOIN pg.requests p USING (request_id)
        LEFT JOIN pg.pending f ON f.request_id = s.request_id AND f.slice_no = 0
        LEFT JOIN done l ON l.request_id = s.request_id AND l.slice_no = 0),
    stepped AS (
        SELECT *, CASE WHEN ways = 0 THEN 1
                       ELSE coalesce(by_ledger, by_pending, by_settings) END::BIGINT AS step,
               CASE WHEN ways = 0 THEN 0 ELSE (people + step - 1) // step END AS parts
        FROM seen)
    SELECT request_id, row_no, partition, "offset", asked_ms, people, personal, ways, push, stands,
           step, parts, parts + push AS slices,
           stands AND ways > 0 AND parts + push <> slices_there
               AND coalesce(by_ledger, by_pending) IS NULL
               AND request_id NOT IN (SELECT request_id FROM pg.pending) AS unsure
    FROM stepped
"""
# `must`: PostgreSQL has taken it in. What is stored before its position is saved, need not be.
_WANTED = """
    CREATE TABLE wanted AS
    SELECT c.*, r.requester, r.campaign_id, r.channels, d.lane, r.due_ms, r.expires_ms,
           CASE WHEN ways = 0 THEN 0 ELSE c.people END + push AS recipients,
           c.people * ways + push AS messages, d.content_hash, d.message, d.traceparent,
           (d.checksum % getvariable('shards'))::INTEGER AS shard,
           c."offset" < k.upto OR coalesce(l.done, false) AS must,
           coalesce(l.messages, 0) AS gone, coalesce(s.stopped, 0) AS stopped,
           coalesce(greatest(r.due_ms, c.asked_ms) <= ledgers.gap_ms, false) AS in_gap
    FROM cut c JOIN requests r ON r.rowid = c.row_no
    JOIN details d ON (d.partition, d."offset") = (c.partition, c."offset")
    JOIN known k ON k.topic = getvariable('requests_topic') AND k.partition = c.partition
    LEFT JOIN (
        SELECT request_id, bool_or(done) AS done, sum(messages) FILTER (done)::BIGINT AS messages
        FROM done GROUP BY request_id) l ON l.request_id = c.request_id
    LEFT JOIN stopped s ON s.request_id = c.request_id
    LEFT JOIN ledgers ON ledgers.shard = d.checksum % getvariable('shards')
"""
# Only of requests of which something stands, or should: nearly all are done with.
_OPEN = """
    CREATE TABLE open_requests AS
    SELECT w.request_id, list_transform(range(0, w.parts), lambda n: md5(coalesce(array_to_string(
               r.customers[n * w.step + 1 : (n + 1) * w.step], chr(10)), ''))) AS digests
    FROM requests r JOIN wanted w ON w.row_no = r.rowid
    WHERE w.messages - w.gone - w.stopped <> 0
          OR w.request_id IN (SELECT request_id FROM pg.pending)
"""
# A cancel stopped the last slices of those that no batch took.
_STANDING = """
    CREATE TABLE standing AS
    WITH each_slice AS (
        SELECT request_id, digests, unnest(range(0, slices))::INTEGER AS slice_no,
               w.* EXCLUDE (request_id, recipients, messages, channels)
        FROM open_requests JOIN wanted w USING (request_id)),
    sized AS (
        SELECT * EXCLUDE (digests), slice_no >= parts AS pushes,
               CASE WHEN pushes THEN 1 ELSE least(step, people - slice_no * step) END::INTEGER
                   AS recipients,
               CASE WHEN pushes THEN 1 ELSE ways END * recipients AS messages,
               CASE WHEN pushes THEN 8 ELSE personal END::UTINYINT AS channels,
               CASE WHEN pushes THEN 0 ELSE recipients END AS customers_there,
               CASE WHEN pushes THEN md5('') ELSE digests[slice_no + 1] END::UUID AS customers
        FROM each_slice),
    led AS (
        SELECT s.*, d.request_id IS NOT NULL AS led, coalesce(d.done, false) AS done,
               d.shard AS ledger_shard, d."offset" AS ledger_offset,
               sum(CASE WHEN d.request_id IS NULL THEN s.messages ELSE 0 END) OVER (
                   PARTITION BY s.request_id ORDER BY s.slice_no DESC
                   ROWS UNBOUNDED PRECEDING) AS from_end
        FROM sized s LEFT JOIN done d USING (request_id, slice_no))
    SELECT *, NOT led AND from_end <= stopped AS cancelled FROM led
"""
# The newest of what saec.registry has of each customer; partition and offset are of its source.
_REGISTRY = """
    CREATE TABLE registry AS
    SELECT r.* FROM registered r
    JOIN known k ON k.topic = getvariable('customers_topic') AND k.partition = r.partition
    WHERE r.valid AND r."offset" < k.upto
    QUALIFY row_number() OVER (
        PARTITION BY customer_id ORDER BY stamped_ms DESC, r.partition DESC, r."offset" DESC) = 1
"""


def compare(books: Books, settings: Settings) -> None:
    """Work out what must be stored, and write what differs into `findings`.

    After `derive` and `find`, in books that hold a snapshot.
    """
    variables: Mapping[str, str | int] = {
        "customers_topic": settings.topics.customers,
        "shards": books.meta("shards"),
        "slice_recipients": settings.slice_recipients,
        "slice_bytes": SLICE_BYTES,
    }
    for name, value in variables.items():
        books.rows(f"SET VARIABLE {name} = ?", value)
    steps = (_KNOWN, _LEDGERS, _DONE, _CANCELLING, _STOPPED, _SOURCES, _CUT, _WANTED, _OPEN)
    for step in (*steps, _STANDING, _REGISTRY):
        books.run(step)
    differences.find(books)
