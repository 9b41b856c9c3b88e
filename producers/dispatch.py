"""The process that dispatches what is due: `python -m producers.dispatch`.

Publishes one message per customer and channel to saec.dispatch.*, exactly once. Run any number of
them: they share the shards and take over from one another.
"""

import sys

from saec import process
from saec.dispatch.round import Worker
from saec.process import Parts

ROLE = "dispatch"


def make(parts: Parts) -> Worker:
    """The loop of this process."""
    return Worker(parts.settings, parts.engine, parts.clock)


def main() -> int:
    """Run until SIGTERM; the exit code."""
    return process.run(ROLE, make)


if __name__ == "__main__":
    sys.exit(main())
