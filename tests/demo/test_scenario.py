"""The demo submits what it says: every special case is there, and expected as the issue has it."""

from collections import Counter

import pytest

from saec.contracts.decode import decode_customer, decode_request
from saec.contracts.events import Channel
from saec.contracts.status import Status
from saec.demo import wire
from saec.demo.expected import Expected, expect
from saec.demo.scenario import Plan, Scenario, registry, scenario
from saec.errors import Reason
from saec.ingest import addresses
from saec.settings import Topics

START_MS = 1_800_000_000_000
PLAN = Plan()
TOPICS = Topics("saec.")


@pytest.fixture(scope="module")
def made() -> Scenario:
    return scenario(PLAN, registry(PLAN), START_MS)


@pytest.fixture(scope="module")
def expected(made: Scenario) -> Expected:
    return expect(made)


def test_what_is_published_is_what_is_expected_of(made: Scenario) -> None:
    for request in (*made.requests, *made.refused):
        record = wire.schedule(TOPICS, request)
        assert decode_request(record.value, record.headers, 1_000_000) == request
    for cancel in made.cancels:
        record = wire.cancel(TOPICS, cancel)
        assert decode_request(record.value, record.headers, 1_000_000) == cancel
    for customer in made.customers:
        record = wire.customer(TOPICS, customer)
        assert decode_customer(record.key, record.value, record.headers, 1_000) == customer


def test_addresses_are_in_the_form_that_the_registry_keeps(made: Scenario) -> None:
    for customer in made.customers[3:]:
        assert addresses.email(customer.email or "") == customer.email
        assert addresses.phone(customer.phone or "") == customer.phone


def test_the_texts_have_accents_and_emoji(made: Scenario) -> None:
    texts = " ".join(request.message.body.decode() for request in made.requests)
    assert "ã" in texts
    assert any(ord(letter) > 0xFFFF for letter in texts)


def test_everything_is_due_within_the_span(made: Scenario) -> None:
    assert all(0 <= r.due_at_ms - START_MS <= PLAN.span_ms for r in made.requests)


def test_all_channels_and_a_campaign_of_thousands(made: Scenario, expected: Expected) -> None:
    assert all(expected.of_channel(channel) > 0 for channel in Channel)
    assert any(request.channels == tuple(Channel) for request in made.requests)
    assert any(len(request.customers) > 3_000 for request in made.requests)
    assert sum(len(request.customers) == 1 for request in made.requests) == PLAN.singles


def test_the_special_cases_are_answered(expected: Expected) -> None:
    answers = Counter((status, reason) for _, status, reason in expected.answers)
    assert answers[Status.CANCELLED, None] == 1
    assert answers[Status.DUPLICATE, None] == 1
    assert answers[Status.REJECTED, Reason.DUE_IN_THE_PAST] == 1
    assert answers[Status.REJECTED, Reason.INVALID_EMAIL] == 1
    reasons = {(channel, reason) for _, channel, reason in expected.skips}
    assert reasons == {
        (Channel.WHATSAPP, Reason.OPTED_OUT),
        (Channel.EMAIL, Reason.NO_ADDRESS),
        (Channel.EMAIL, Reason.UNKNOWN_CUSTOMER),
        (Channel.WHATSAPP, Reason.UNKNOWN_CUSTOMER),
    }


def test_what_is_cancelled_is_not_expected(made: Scenario, expected: Expected) -> None:
    cancelled = {str(cancel.id) for cancel in made.cancels}
    assert cancelled
    assert not cancelled & {id_ for id_, _, _ in expected.messages}


def test_the_same_seed_gives_the_same_but_for_ids(made: Scenario) -> None:
    again = scenario(PLAN, registry(PLAN), START_MS)
    assert [r.message for r in again.requests] == [r.message for r in made.requests]
    assert {r.id for r in again.requests}.isdisjoint(r.id for r in made.requests)
