"""What must have been dispatched, and what was: derived from the books, table by table.

A *unit* is a slice of a request on one channel: what dispatch finishes as a whole, and what the
ledger counts skips for. Invariant: each expected message is counted in exactly one unit, and each
unit's counts add up: expected = dispatched + skipped + stopped + awaited + missing + unjudged.
"""

from dataclasses import dataclass

import pyarrow as pa

from saec.audit.books import Books
from saec.audit.extents import MARGIN_MS
from saec.contracts.events import Channel
from saec.settings import Settings
from saec.store.shards import shard_of

# Beyond any instant and any count; sums of it still fit.
_MOST = 2**53
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Bounds:
    """`as_of_ms`: when the ends were taken. `late_ms`: when a message counts as late."""

    as_of_ms: int
    late_ms: int


_CHANNELS = f"{[channel.bit for channel in Channel]}::UTINYINT[]"
_NAME = "CASE channel {} END".format(
    " ".join(f"WHEN {channel.bit} THEN '{channel}:'" for channel in Channel)
)

# One row for each record of saec.requests that was answered. A cancel that was read before its
# request has two answers, and the `late` one counts; `firsts` are the others.
_VERDICTS = """
    CREATE TABLE verdicts AS
    SELECT source_partition AS partition, source_offset AS "offset", count_if(NOT late) AS firsts,
           greatest(count_if(NOT late), count_if(late)) AS times,
           any_value(request_id) AS request_id,
           coalesce(any_value(status) FILTER (late), any_value(status)) AS status,
           max(stopped) AS stopped, bool_or(late) AS late
    FROM answers GROUP BY ALL
"""
# A customer who is named twice counts once, where they are named first.
_DOUBLES = """
    UPDATE requests SET customers = (
        SELECT list(customer ORDER BY place) FROM (
            SELECT customer, min(place) AS place
            FROM (SELECT unnest(customers) AS customer, generate_subscripts(customers, 1) AS place)
            GROUP BY customer))
    WHERE doubled;
    UPDATE requests SET people = len(customers) WHERE doubled
"""
# What every record of saec.requests was answered; `gone` where retention took the answer.
_ASKED = """
    CREATE TABLE asked AS
    WITH asking AS (
        SELECT rowid AS row_no, partition, "offset", stamped_ms, request_id, 'request' AS kind
        FROM requests
        UNION ALL
        SELECT NULL, partition, "offset", stamped_ms, request_id, 'cancel' FROM cancels
        UNION ALL
        SELECT NULL, partition, "offset", stamped_ms, NULL, 'stranger' FROM strangers
        WHERE topic = getvariable('requests_topic'))
    SELECT asking.*, v.status, v.times, v.firsts, asking."offset" >= e.settled AS to_come,
           coalesce(stamped_ms < getvariable('answers_from_ms'), false) AS gone
    FROM asking
    JOIN extents e ON e.topic = getvariable('requests_topic') AND e.partition = asking.partition
    LEFT JOIN verdicts v ON (v.partition, v."offset") = (asking.partition, asking."offset")
"""
# Batches take a request's slices in order, so the first one tells how the request was cut.
_LED = """
    CREATE TABLE led AS
    SELECT request_id, min(slice_no) = 0 AS begun,
           coalesce(max(recipients) FILTER (slice_no = 0), max(recipients)) AS step
    FROM slices WHERE recipients > 0 GROUP BY request_id
"""
# What the ledger dispatched was accepted, also where the answer is gone or to come.
_CHOSEN = """
    CREATE TABLE chosen AS
    SELECT request_id, arg_min(row_no, (status IS NULL, stamped_ms, partition, "offset")) AS row_no,
           bool_and(status IS NULL AND to_come) AS answer_to_come
    FROM asked
    WHERE kind = 'request' AND request_id IS NOT NULL
          AND (status = 'ACCEPTED'
               OR (status IS NULL AND request_id IN (SELECT request_id FROM led)))
    GROUP BY request_id
"""
# The first cancel that may decides a request, and later answers repeat it.
_STOPS = """
    CREATE TABLE stops AS
    WITH unanswered AS (
        SELECT request_id, bool_and(to_come) AS to_come FROM asked
        WHERE kind = 'cancel' AND status IS NULL GROUP BY request_id),
    decided AS (
        SELECT request_id, least(greatest(max(stopped), 0), {most}) AS stopped FROM verdicts
        WHERE status IN ('CANCELLED', 'ALREADY_CANCELLED', 'TOO_LATE') GROUP BY request_id)
    SELECT request_id, coalesce(stopped, 0) AS stopped,
           CASE WHEN d.request_id IS NULL THEN to_come END AS cancel_to_come
    FROM decided d FULL JOIN unanswered USING (request_id)
"""
_ACCEPTED = """
    CREATE TABLE accepted AS
    SELECT c.rowid::INTEGER AS no, c.row_no, c.request_id, r.partition, r."offset",
           r.stamped_ms AS asked_ms, r.campaign_id, r.channels, r.due_ms, r.expires_ms, r.content,
           r.people, c.answer_to_come,
           least(greatest(r.due_ms, r.stamped_ms), {most}) AS wanted_ms,
           coalesce(s.stopped, 0) AS stopped, s.cancel_to_come,
           CASE WHEN r.people = 0 THEN 1 ELSE l.step END::INTEGER AS step,
           r.people = 0 OR coalesce(l.begun, false) AS begun
    FROM requests r JOIN chosen c ON c.row_no = r.rowid
    LEFT JOIN led l ON l.request_id = c.request_id
    LEFT JOIN stops s ON s.request_id = c.request_id
"""
# How a request was cut, cannot be told where its first slice may be gone: it is one unit then.
_UNCUT = """
    UPDATE accepted SET step = NULL FROM gaps
    WHERE gaps.no = accepted.no AND wanted_ms <= gap_ms AND NOT begun
"""
_CONTENTS = """
    CREATE TABLE read_contents AS
    SELECT c.content_no, a.no, c.wanted OR a.no IS NOT NULL AS wanted,
           a.content IS DISTINCT FROM c.digest AS altered
    FROM contents c LEFT JOIN accepted a USING (request_id)
"""
_UNITS = """
    CREATE TABLE units AS
    SELECT e.no, e.channel, e.slice_no, count(*) AS lines, count(s.message_id) AS records,
           min(least(s.stamped_ms, s.dispatched_ms)) AS first_ms, max(s.dispatched_ms) AS last_ms,
           coalesce(bool_or(NOT s.whole OR c.no IS DISTINCT FROM e.no
                            OR s.customer IS DISTINCT FROM e.customer)
                    FILTER (s.message_id IS NOT NULL), false) AS altered
    FROM ({expected}) e LEFT JOIN sent s USING (message_id)
    LEFT JOIN (SELECT content_no, no FROM read_contents WHERE NOT altered) c USING (content_no)
    GROUP BY e.no, e.channel, e.slice_no
"""
# Each slice of the ledger; where one is there twice, as it was dispatched first.
_TOLD = """
    CREATE TABLE told AS
    SELECT request_id, slice_no, min(dispatched_ms) AS told_ms,
           min(("offset", shard)) AS place, bool_and("offset" < e.settled) AS settled
    FROM slices JOIN extents e ON e.topic = getvariable('ledger_topic')
         AND e.partition = slices.shard
    GROUP BY request_id, slice_no
"""
_SKIPPED = """
    CREATE TABLE skipped AS
    SELECT request_id, slice_no, channel, reason, sum(messages)::BIGINT AS messages
    FROM skips JOIN told USING (request_id, slice_no)
    WHERE place = (skips."offset", skips.shard) GROUP BY ALL
"""
# What each unit came to. `covered`: the channel's topic still holds what was dispatched then.
_COUNTED = """
    CREATE TABLE counted AS
    WITH skipped_units AS (
        SELECT request_id, slice_no, channel, sum(messages)::BIGINT AS skipped FROM skipped
        GROUP BY ALL),
    sized AS (
        SELECT u.*, a.* EXCLUDE (no, channels),
               CASE WHEN channel = 8 THEN 1 WHEN step IS NULL THEN people
                    ELSE least(step, people - slice_no * step) END::BIGINT AS size
        FROM units u JOIN accepted a USING (no))
    SELECT s.*, lines - size AS duplicate, records - (lines - size) AS found,
           size - found AS unfound, t.request_id IS NOT NULL AS led,
           coalesce(t.settled, true) AS settled, coalesce(k.skipped, 0) AS ledger_skips, told_ms,
           t.request_id IS NULL OR told_ms >= coalesce(c.from_ms, told_ms) AS covered
    FROM sized s LEFT JOIN told t USING (request_id, slice_no)
    LEFT JOIN skipped_units k USING (request_id, slice_no, channel)
    LEFT JOIN channels_from c USING (channel)
"""
# From when a channel's topic is complete; no row where it still holds everything.
_CHANNELS_FROM = """
    CREATE TABLE channels_from AS
    SELECT c.channel, max(coalesce(oldest_ms, getvariable('as_of_ms'))) + {margin} AS from_ms
    FROM extents JOIN channel_topics c USING (topic) WHERE kept > 0 AND first = kept
    GROUP BY c.channel
"""
# Of what is absent, a cancel stopped the last slices; of what is there too much, the same.
_JUDGED = """
    CREATE TABLE judged AS
    WITH shared AS (
        SELECT *, CASE WHEN led THEN 0 ELSE unfound END AS absent, size - absent AS present,
               CASE WHEN covered THEN found ELSE greatest(size - ledger_skips, 0) END AS dispatched,
               sum(absent) OVER of_request AS all_absent,
               coalesce(sum(absent) OVER last_first, 0) AS absent_after,
               coalesce(sum(present) OVER unled_first, 0) AS present_after
        FROM counted
        WINDOW of_request AS (PARTITION BY no),
            last_first AS (PARTITION BY no ORDER BY slice_no DESC, channel DESC
                           ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
            unled_first AS (PARTITION BY no ORDER BY led, slice_no DESC, channel DESC
                            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)),
    split AS (
        SELECT *, least(absent, greatest(stopped - absent_after, 0)) AS stopped_here,
               least(dispatched, present, greatest(stopped - all_absent - present_after, 0))
                   AS stopped_but_sent
        FROM shared)
    SELECT no, request_id, channel, slice_no, campaign_id, due_ms, expires_ms, wanted_ms,
           partition, "offset", size AS asked,
           dispatched, CASE WHEN covered THEN 0 ELSE dispatched END AS from_ledger,
           duplicate, CASE WHEN covered THEN least(ledger_skips, unfound) ELSE ledger_skips END
               AS skipped,
           ledger_skips, stopped_here AS stopped, absent - stopped_here AS rest,
           CASE WHEN NOT led AND (wanted_ms + getvariable('late_ms') >= getvariable('as_of_ms')
                                  OR answer_to_come OR coalesce(cancel_to_come, false))
                     THEN 'awaited'
                WHEN NOT led AND cancel_to_come IS NOT NULL THEN 'unjudged'
                WHEN NOT led AND wanted_ms <= gap_ms THEN 'unjudged'
                WHEN led AND NOT settled THEN 'awaited' ELSE 'missing' END AS fate,
           CASE WHEN led AND covered THEN greatest(unfound - ledger_skips, 0) ELSE 0 END AS lacking,
           CASE WHEN covered THEN greatest(ledger_skips - unfound, 0) ELSE 0 END
               AS skipped_but_sent,
           stopped_but_sent,
           CASE WHEN led OR wanted_ms <= gap_ms THEN 0 ELSE found - stopped_but_sent END
               AS unrecorded,
           coalesce(first_ms < due_ms, false) OR coalesce(told_ms < due_ms, false) AS early,
           coalesce(greatest(last_ms, told_ms) > wanted_ms + getvariable('late_ms'), false) AS late,
           coalesce(last_ms >= expires_ms, false)
               OR (from_ledger > 0 AND coalesce(told_ms >= expires_ms, false)) AS after_expiry,
           altered, covered, told_ms, first_ms, last_ms
    FROM split LEFT JOIN gaps USING (no)
"""


def derive(books: Books, settings: Settings, bounds: Bounds) -> None:
    """Work it all out; the result is the table `judged`."""
    names = settings.topics
    _set(books, "as_of_ms", bounds.as_of_ms)
    _set(books, "late_ms", bounds.late_ms)
    _set(books, "horizon_ms", settings.horizon_days * _DAY_MS)
    _set(books, "requests_topic", names.requests)
    _set(books, "ledger_topic", names.ledger)
    _set(books, "status_topic", names.status)
    # What an earlier, interrupted attempt derived is made anew.
    books.run("DROP SCHEMA IF EXISTS derived CASCADE; CREATE SCHEMA derived")
    books.run("SET search_path = 'derived,main'")
    books.run("CREATE TABLE channel_topics (channel UTINYINT, topic VARCHAR)")
    for channel, topic in names.dispatch.items():
        books.rows("INSERT INTO channel_topics VALUES (?, ?)", channel.bit, topic)
    _set(books, "answers_from_ms", _complete_from(books, names.status) + MARGIN_MS)
    for step in (_VERDICTS, _DOUBLES, _ASKED, _LED, _CHOSEN, _STOPS, _ACCEPTED):
        books.run(step.format(most=_MOST))
    _find_gaps(books, names.ledger)
    for step in (_UNCUT, _CONTENTS):
        books.run(step)
    books.run(_UNITS.format(expected=expected("accepted")))
    books.run(_CHANNELS_FROM.format(margin=MARGIN_MS))
    for step in (_TOLD, _SKIPPED, _COUNTED, _JUDGED):
        books.run(step)


def expected(accepted: str) -> str:
    """Every message of these accepted requests, as SQL: no, channel, slice_no, customer, ids.

    The id of a message is UUIDv5 of the request's id and `CHANNEL:customer`: the digest with two
    digits replaced, of which the second keeps its two lower bits.
    """
    return f"""
        WITH each_request AS (
            SELECT a.no, a.step, r.people, r.customers, r.channels,
                   unhex(replace(r.request_id::VARCHAR, '-', '')) AS namespace
            FROM {accepted} a JOIN requests r ON r.rowid = a.row_no),
        each_channel AS (
            SELECT * EXCLUDE (channels),
                   unnest(list_filter({_CHANNELS}, lambda one: channels & one <> 0)) AS channel
            FROM each_request),
        each_person AS (
            SELECT * EXCLUDE (customers),
                   unnest(CASE WHEN channel = 8 THEN [''] ELSE customers END) AS person,
                   generate_subscripts(
                       CASE WHEN channel = 8 THEN [''] ELSE customers END, 1) - 1 AS place
            FROM each_channel),
        hashed AS (
            SELECT *, sha1(namespace || encode({_NAME} || person)) AS digest,
                   ascii(substr(digest, 17, 1)) AS variant
            FROM each_person)
        SELECT no, channel,
               CASE WHEN step IS NULL THEN 0
                    WHEN channel = 8 THEN (people + step - 1) // step
                    ELSE place // step END::INTEGER AS slice_no,
               CASE WHEN channel = 8 THEN NULL ELSE person END AS customer_id,
               hash(CASE WHEN channel = 8 THEN NULL ELSE person END) AS customer,
               unhex(concat(substr(digest, 1, 12), '5', substr(digest, 14, 3),
                            substr('89ab', (variant + (variant > 57)::INTEGER & 3) + 1, 1),
                            substr(digest, 18, 15)))::UUID AS message_id
        FROM hashed
    """


def _complete_from(books: Books, topic: str) -> int:
    """From when a topic holds everything; long ago where nothing of it is gone."""
    found = books.rows(
        "SELECT max(coalesce(oldest_ms, getvariable('as_of_ms'))) FROM extents "
        "WHERE topic = ? AND kept > 0 AND first = kept",
        topic,
    )
    return int(found[0][0] or -MARGIN_MS)


def _find_gaps(books: Books, ledger: str) -> None:
    """Of each request, until when its shard's ledger is gone."""
    books.run("CREATE TABLE gaps (no INTEGER, gap_ms BIGINT)")
    lost = books.rows(
        "SELECT partition, coalesce(oldest_ms, getvariable('as_of_ms')) FROM extents "
        "WHERE topic = ? AND kept > 0 AND first = kept",
        ledger,
    )
    if not lost:
        return
    shards = books.rows("SELECT count(*) FROM extents WHERE topic = ?", ledger)[0][0]
    until = dict(lost)
    for numbers in books.stream("SELECT no, request_id FROM accepted"):
        rows = [
            (no, until[shard] + MARGIN_MS)
            for no, request_id in numbers
            if (shard := shard_of(request_id, shards)) in until
        ]
        page = pa.table({"no": [no for no, _ in rows], "gap_ms": [gap_ms for _, gap_ms in rows]})
        books.insert("INSERT INTO gaps SELECT no, gap_ms FROM page", page)


def _set(books: Books, name: str, value: int | str) -> None:
    books.rows(f"SET VARIABLE {name} = ?", value)
