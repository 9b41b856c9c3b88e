"""What SAEC must do with a scenario, worked out from the scenario alone.

Owns the rules a second time, on purpose in other words than the code it judges: nothing here asks
the database or the dispatcher.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from saec.contracts.events import Channel, CustomerRegistered, Message, ScheduleRequested
from saec.contracts.status import Status
from saec.demo.scenario import Scenario
from saec.errors import Reason

MessageKey = tuple[str, Channel, str | None]
"""Request, channel, customer: of each there is to be one message."""

AnswerKey = tuple[str, Status, Reason | None]
"""Request or customer, and what it is answered."""

SkipKey = tuple[str, Channel, Reason]


@dataclass(frozen=True, slots=True)
class Promise:
    """One message: not before `due_at_ms`, to this address, with this content."""

    due_at_ms: int
    address: str | None
    message: Message


@dataclass(frozen=True, slots=True)
class Expected:
    """Every message, answer and skip there must be, and no other."""

    messages: Mapping[MessageKey, Promise]
    answers: Counter[AnswerKey]
    skips: Counter[SkipKey]

    def of_channel(self, channel: Channel) -> int:
        """How many messages a channel must get."""
        return sum(key[1] is channel for key in self.messages)

    @property
    def last_due_ms(self) -> int:
        """When the last message is due."""
        return max(promise.due_at_ms for promise in self.messages.values())


def expect(scenario: Scenario) -> Expected:
    """What must become of `scenario`."""
    people = {customer.id: customer for customer in scenario.customers}
    withdrawn = {cancel.id for cancel in scenario.cancels}
    messages: dict[MessageKey, Promise] = {}
    skips: Counter[SkipKey] = Counter()
    for request in scenario.requests:
        if request.id in withdrawn:
            continue
        for key, address in _wanted(request, people):
            if isinstance(address, Reason):
                skips[str(request.id), key[1], address] += 1
            else:
                messages[key] = Promise(request.due_at_ms, address, request.message)
    return Expected(messages, _answers(scenario), skips)


def _wanted(
    request: ScheduleRequested, people: Mapping[str, CustomerRegistered]
) -> Iterator[tuple[MessageKey, str | Reason | None]]:
    id_ = str(request.id)
    for channel in request.channels:
        if channel is Channel.PUSH:
            yield (id_, channel, None), None
            continue
        for customer in request.customers:
            yield (id_, channel, customer), _address(people.get(customer), channel)


def _address(customer: CustomerRegistered | None, channel: Channel) -> str | Reason:
    if customer is None:
        return Reason.UNKNOWN_CUSTOMER
    if channel in (customer.opted_out or ()):
        return Reason.OPTED_OUT
    address = customer.email if channel is Channel.EMAIL else customer.phone
    return address if address and _is_valid(address) else Reason.NO_ADDRESS


def _is_valid(address: str) -> bool:
    """Good enough for addresses of our own making."""
    return "@" in address or address.startswith("+55")


def _answers(scenario: Scenario) -> Counter[AnswerKey]:
    answers: Counter[AnswerKey] = Counter()
    for request in scenario.requests:
        answers[str(request.id), Status.ACCEPTED, None] += 1
    for request in scenario.repeated:
        answers[str(request.id), Status.DUPLICATE, None] += 1
    for request in scenario.refused:
        answers[str(request.id), Status.REJECTED, Reason.DUE_IN_THE_PAST] += 1
    for cancel in scenario.cancels:
        answers[str(cancel.id), Status.CANCELLED, None] += 1
    for customer in scenario.customers:
        if customer.email is not None and not _is_valid(customer.email):
            answers[customer.id, Status.REJECTED, Reason.INVALID_EMAIL] += 1
    return answers
