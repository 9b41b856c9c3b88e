"""The process that forwards what requesters publish to topics of their own.

`python -m consumers.requesters`. Reads saec.requests.<requester> for each name in SAEC_REQUESTERS,
and writes each record to saec.requests, bound to that requester. Run any number of them.
"""

import sys

from saec import process
from saec.kafka.forward import ROLE, Forwarder
from saec.process import Parts


def make(parts: Parts) -> Forwarder:
    """The loop of this process."""
    return Forwarder(parts.settings, parts.clock)


def main() -> int:
    """Run until SIGTERM; the exit code."""
    return process.run(ROLE, make)


if __name__ == "__main__":
    sys.exit(main())
