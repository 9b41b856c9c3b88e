"""Where requests stand, in the JSON that people and their programs are given.

Invariant: `saec status`, `saec pending` and the HTTP endpoint tell the same in the same words, and
nothing of a message or of who is to receive it.
"""

from typing import Any

from saec.contracts.instants import iso
from saec.store.history import Account, PendingHour, State

PORTUGUESE = {
    State.SCHEDULED: "AGENDADA",
    State.SENT: "ENVIADA",
    State.CANCELLED: "CANCELADA",
    State.NOT_SENT: "NÃO ENVIADA",
}


def as_dict(account: Account) -> dict[str, Any]:
    """An account, for JSON."""
    return {
        "request_id": str(account.request_id),
        "state": account.state.value,
        "state_pt": PORTUGUESE[account.state],
        "requester": account.requester,
        "campaign_id": account.campaign_id,
        "channels": [channel.value for channel in account.channels],
        "lane": account.lane.value,
        "due_at": iso(account.due_at_ms),
        "expires_at": iso(account.expires_at_ms),
        "accepted_at": iso(account.accepted_at_ms),
        "recipients": account.recipients,
        "counts": {
            "total": account.total,
            "pending": account.pending,
            "skipped": account.skipped,
            "cancelled": account.cancelled,
            "sent": account.sent,
        },
        "skips": [
            {"channel": skip.channel.value, "reason": skip.reason, "messages": skip.messages}
            for skip in account.skips
        ],
    }


def hour_as_dict(hour: PendingHour) -> dict[str, Any]:
    """An hour of what is pending, for JSON."""
    return {
        "hour": iso(hour.hour_ms),
        "lane": hour.lane.value,
        "channel": hour.channel.value,
        "requests": hour.requests,
        "messages": hour.messages,
    }
