"""The process that takes scheduling requests and cancels: `python -m consumers.requests`.

Reads saec.requests, stores what is valid in PostgreSQL, answers on saec.status, and puts what it
refuses into saec.rejected. Run any number of them: they share the partitions.
"""

import sys
from functools import partial

from saec import process
from saec.ingest.loop import IngestLoop, opener
from saec.ingest.positions import StoredPositions
from saec.ingest.requests import RequestIntake
from saec.process import Parts
from saec.recover.behind import refuse_behind

ROLE = "requests"


def make(parts: Parts) -> IngestLoop:
    """The loop of this process."""
    settings = parts.settings
    topic, check = settings.topics.requests, partial(refuse_behind, settings, parts.engine)
    positions = StoredPositions(parts.engine, topic, check)
    intake = opener(settings, parts.engine, ROLE, topic, positions)
    taker = RequestIntake(settings, parts.engine, parts.shards, positions)
    return IngestLoop(intake, taker, parts.clock, ROLE)


def main() -> int:
    """Run until SIGTERM; the exit code."""
    return process.run(ROLE, make)


if __name__ == "__main__":
    sys.exit(main())
