"""The process that keeps the registry of customers: `python -m consumers.customers`.

Reads saec.customers and keeps addresses and consents in PostgreSQL; an invalid address is kept out
and answered on saec.status. Run any number of them: they share the partitions.
"""

import sys

from saec import process
from saec.ingest.customers import CustomerIntake
from saec.ingest.loop import IngestLoop, opener
from saec.ingest.positions import StoredPositions
from saec.process import Parts

ROLE = "customers"


def make(parts: Parts) -> IngestLoop:
    """The loop of this process."""
    settings = parts.settings
    topic = settings.topics.customers
    positions = StoredPositions(parts.engine, topic)
    intake = opener(settings, parts.engine, ROLE, topic, positions)
    taker = CustomerIntake(settings, parts.engine, positions)
    return IngestLoop(intake, taker, parts.clock, ROLE)


def main() -> int:
    """Run until SIGTERM; the exit code."""
    return process.run(ROLE, make)


if __name__ == "__main__":
    sys.exit(main())
