"""The process that takes scheduling requests and cancels: `python -m consumers.requests`.

Reads saec.requests, stores what is valid in PostgreSQL, answers on saec.status, and puts what it
refuses into saec.rejected. Run any number of them: they share the partitions.
"""

import sys

from saec import process
from saec.clock import SystemClock
from saec.ingest.loop import IngestLoop, opener
from saec.ingest.requests import RequestIntake
from saec.settings import Settings
from saec.store.engine import open_engine
from saec.store.installation import Installation

ROLE = "requests"


def main() -> int:
    """Run until SIGTERM; the exit code."""
    settings, clock = Settings(), SystemClock()
    engine = open_engine(settings.database_url, application=f"saec-{ROLE}")

    def make(stands: Installation) -> IngestLoop:
        intake = opener(settings, engine, ROLE, settings.topics.requests)
        return IngestLoop(intake, RequestIntake(settings, engine, stands.shards), clock, ROLE)

    return process.run(ROLE, settings, clock, make)


if __name__ == "__main__":
    sys.exit(main())
