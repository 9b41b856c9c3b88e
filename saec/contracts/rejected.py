"""The one error that unreadable or invalid input raises.

Invariant: `detail` names fields and positions only, never a value that a stranger wrote.
"""

from uuid import UUID

from saec.errors import Reason, SaecError


class RejectedError(SaecError):
    """A record that cannot be taken as an event, with the code it is answered with.

    `request_id` and `customer_id` say whom to answer, as far as they could be read.
    """

    def __init__(
        self,
        reason: Reason,
        detail: str,
        request_id: UUID | None = None,
        customer_id: str | None = None,
    ) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.request_id = request_id
        self.customer_id = customer_id
