"""The audit trail: one line of the log for each change that was asked for.

Invariant: a line names the key, the requester, the request and the outcome, and nothing of the
content. Whatever ends a change is told, as the code that the caller sees.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import Request

from saec.contracts.rejected import RejectedError
from saec.errors import BrokerUnavailableError
from saec.http.keyring import Holder
from saec.http.problems import Problem, kafka_unavailable, of_rejected
from saec.kafka.async_producer import Appended

PUBLISHED = "published"
BROKEN_OFF = "broken_off"
"""Ended by a caller who hung up, by a stop, or by an error that SAEC did not expect."""


@dataclass(slots=True)
class Change:
    """A change on its way: what is known of it so far."""

    action: str
    request_id: str | None = None
    record: Appended | None = None
    outcome: str = PUBLISHED


@dataclass(frozen=True, slots=True)
class Trail:
    """What one caller asks for. `client` is their address, if it is known."""

    holder: Holder
    client: str | None

    @classmethod
    def of(cls, holder: Holder, request: Request) -> "Trail":
        """The trail of a request by HTTP."""
        return cls(holder, request.client.host if request.client else None)

    @contextmanager
    def change(self, action: str, request_id: str | None = None) -> Iterator[Change]:
        """Within the block a change is tried; it is told at the end, however that comes.

        Raises:
            Problem: in place of what SAEC refused, or Kafka did not acknowledge.
        """
        change = Change(action, request_id)
        try:
            yield change
        except RejectedError as error:
            raise _ended(change, of_rejected(error, change.request_id)) from None
        except BrokerUnavailableError:
            raise _ended(change, kafka_unavailable(change.request_id)) from None
        except Problem as problem:
            change.outcome = problem.code
            raise
        except BaseException:
            change.outcome = BROKEN_OFF
            raise
        finally:
            self.tell(change)

    def tell(self, change: Change) -> None:
        """Write the line."""
        self.holder.log.info(
            "change",
            action=change.action,
            outcome=change.outcome,
            request_id=change.request_id,
            record=change.record and str(change.record),
            key=self.holder.key.key_id,
            requester=self.holder.requester,
            client=self.client,
        )


def tell_read(holder: Holder, request: Request, what: str, request_id: str | None = None) -> None:
    """A line for whoever looks at what is not their own requester's, as `operate` lets them."""
    holder.log.info(
        "read",
        what=what,
        request_id=request_id,
        key=holder.key.key_id,
        requester=holder.requester,
        client=request.client.host if request.client else None,
    )


def _ended(change: Change, problem: Problem) -> Problem:
    change.outcome = problem.code
    return problem
