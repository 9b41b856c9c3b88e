"""What was answered, held against what the topic got.

Invariant: an answer without its record is missing, whatever else the topic holds; a record without
an answer is nobody's, unless the answer can have been on its way when the load ended.
"""

from bench.ends import ends
from bench.instants import pause
from bench.seen import Seen
from bench.site import Site

_STILL_S = 0.3


def appended(site: Site) -> int:
    """How many records the topic of requests ever got; waits until it stands still."""
    last = -1
    while (now := _end(site)) != last:
        last = now
        pause(_STILL_S)
    return now


def held(answered: int, records: int, seconds: float, *, on_their_way: int = 0) -> Seen:
    """So many answers within `seconds`, and so many records; up to `on_their_way` more may be."""
    return Seen(
        messages=answered,
        missing=max(0, answered - records),
        duplicate=0,
        unexpected=max(0, records - answered - on_their_way),
        early=0,
        seconds=round(seconds, 3),
        rate=round(answered / seconds),
        lateness=None,
    )


def _end(site: Site) -> int:
    topic = site.settings.topics.requests
    return sum(ends(site.settings.bootstrap_servers, [topic])[topic].values())
