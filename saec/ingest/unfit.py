"""Records that are refused for how they came, whatever they say.

Invariant: the reason is known from the record alone, so it is the same each time it is read.
"""

from uuid import UUID

from saec.contracts.rejected import RejectedError
from saec.errors import Reason
from saec.kafka.records import Incoming


def refuse_lost(source: Incoming) -> None:
    """Refuse what cannot be decoded since it could not be read. Raises RejectedError."""
    if source.refused is Reason.UNREADABLE_RECORD:
        raise RejectedError(
            source.refused, "its batch cannot be decompressed or parsed; publish it again"
        )


def refuse_unstamped(
    source: Incoming, *, request_id: UUID | None = None, customer_id: str | None = None
) -> None:
    """Refuse what the broker did not stamp: no verdict could be given. Raises RejectedError."""
    if source.refused is Reason.NO_APPEND_TIME:
        raise RejectedError(
            Reason.NO_APPEND_TIME,
            "the topic did not stamp it (message.timestamp.type); publish it again",
            request_id,
            customer_id,
        )
