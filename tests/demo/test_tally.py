"""What the live view counts."""

import io
from collections import Counter
from uuid import UUID

from rich.console import Console

from saec.contracts.dispatch import DispatchMessage
from saec.contracts.events import Channel, Message
from saec.contracts.status import RequestStatus, Status
from saec.demo.expected import Expected, Promise
from saec.demo.screen import Screen
from saec.demo.tally import Lateness, Tally
from saec.demo.topics import Reading
from saec.demo.verdict import Seen
from saec.errors import Reason

ID = UUID("6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10")
DUE_MS = 1_000_000
CONTENT = Message(body=b"x", content_type="text/plain")


def seen(customer: int) -> Seen:
    message = DispatchMessage(
        message_id="m",
        customer_id=str(customer),
        channel=Channel.SMS,
        address="+55",
        dispatched_at_ms=DUE_MS,
        request_id=ID,
        campaign_id=None,
        requester="billing",
        due_at_ms=DUE_MS,
        expires_at_ms=None,
        message=CONTENT,
    )
    return Seen(Channel.SMS, message, DUE_MS)


def of(count: int, skips: int = 0) -> Expected:
    promise = Promise(DUE_MS, "+55", CONTENT)
    return Expected(
        {(str(ID), Channel.SMS, str(n)): promise for n in range(count)},
        Counter({(str(ID), Status.ACCEPTED, None): 1}),
        Counter({(str(ID), Channel.SMS, Reason.OPTED_OUT): skips} if skips else {}),
    )


ACCEPTED = RequestStatus(str(ID), Status.ACCEPTED, 0)
SKIPPED = RequestStatus(str(ID), Status.SKIPPED, 0, Reason.OPTED_OUT, {"SMS.opted_out": 1})


def test_lateness_is_arrival_less_due() -> None:
    tally = Tally(of(100))
    assert tally.lateness(Channel.SMS) is None
    for customer in range(100):
        tally.add(Reading([seen(customer)]), DUE_MS + customer + 1)
    assert tally.arrived(Channel.SMS) == 100
    assert tally.lateness(Channel.SMS) == Lateness(50, 99, 100)


def test_complete_takes_messages_answers_and_skips() -> None:
    tally = Tally(of(1, skips=2))
    tally.add(Reading([seen(0)], [ACCEPTED, SKIPPED]), DUE_MS)
    assert not tally.complete
    tally.add(Reading([], [SKIPPED]), DUE_MS)
    assert tally.complete


def test_a_repeated_message_does_not_stand_for_another() -> None:
    tally = Tally(of(2))
    tally.add(Reading([seen(0), seen(0)], [ACCEPTED]), DUE_MS)
    assert tally.arrived(Channel.SMS) == 2
    assert not tally.complete


def test_an_answer_of_another_request_does_not_count() -> None:
    tally = Tally(of(0))
    tally.add(Reading([], [ACCEPTED._replace(request_id="other")]), DUE_MS)
    assert not tally.complete


def test_a_terminal_gets_a_table_and_a_file_gets_lines() -> None:
    for terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
        tally = Tally(of(1))
        with Screen(console).live() as view:
            view.show(tally, -1.0)
            tally.add(Reading([seen(0)], [ACCEPTED]), DUE_MS + 7)
            view.show(tally, 1.0)
        assert isinstance(console.file, io.StringIO)
        shown = console.file.getvalue()
        assert ("\x1b" in shown) == terminal
        assert ("late p50" in shown) == terminal
        assert "7 ms" in shown or "7/7/7 ms" in shown
