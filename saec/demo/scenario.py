"""What the demo submits: a registry of people and requests that look real.

Pure: the same seed gives the same names, texts and instants relative to the start; only the ids of
requests are new each time. Every special case is there once, and named.
"""

import random
import unicodedata
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from saec.contracts.events import (
    CancelRequested,
    Channel,
    CustomerRegistered,
    Message,
    ScheduleRequested,
)
from saec.demo import texts

TEXT = "text/plain; charset=utf-8"
UNKNOWN_CUSTOMER = "999999"
BILLING = "billing"
"""Who asks for what goes to one customer."""
_HOUR_MS = 3_600_000
_ONE_BY_ONE = (Channel.EMAIL, Channel.SMS, Channel.WHATSAPP)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much, and over which time. `lead_ms` is from publishing to the first due instant."""

    customers: int = 3_000
    singles: int = 240
    span_ms: int = 15_000
    lead_ms: int = 3_000
    seed: int = 2026


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that is published. `repeated` are requests published a second time, unchanged."""

    customers: tuple[CustomerRegistered, ...]
    requests: tuple[ScheduleRequested, ...]
    repeated: tuple[ScheduleRequested, ...]
    refused: tuple[ScheduleRequested, ...]
    cancels: tuple[CancelRequested, ...]


def registry(plan: Plan) -> tuple[CustomerRegistered, ...]:
    """The customers, by number from 1; the first three are special."""
    chance = random.Random(plan.seed)  # noqa: S311 - names, no secrets
    people = [_person(number, chance) for number in range(1, plan.customers + 1)]
    people[0] = people[0].model_copy(update={"opted_out": frozenset({Channel.WHATSAPP})})
    people[1] = people[1].model_copy(update={"email": None})
    people[2] = people[2].model_copy(update={"email": "sem-arroba.example.com"})
    return tuple(people)


def scenario(plan: Plan, customers: tuple[CustomerRegistered, ...], start_ms: int) -> Scenario:
    """Requests for these customers, due from `start_ms` (epoch) on over the plan's span."""
    chance = random.Random(plan.seed)  # noqa: S311 - texts, no secrets
    ids = tuple(customer.id for customer in customers)
    ones = [
        _single(customers, start_ms + chance.randrange(plan.span_ms), chance)
        for _ in range(plan.singles)
    ]
    withdrawn = _many("relampago", (Channel.SMS,), ids[: len(ids) // 2], start_ms + plan.span_ms,
                      texts.WITHDRAWN)  # fmt: skip
    late = _many(None, (Channel.EMAIL,), ids[:1], start_ms - _HOUR_MS, texts.LATE)
    return Scenario(
        customers=customers,
        requests=(*ones, *_campaigns(plan, ids, start_ms), withdrawn),
        repeated=(ones[0],),
        refused=(late,),
        cancels=(CancelRequested(id=withdrawn.id, requester=withdrawn.requester),),
    )


def _campaigns(plan: Plan, ids: tuple[str, ...], start_ms: int) -> Iterator[ScheduleRequested]:
    """To many at once, each at its share of the span."""

    def at_ms(share: float) -> int:
        return start_ms + round(plan.span_ms * share)

    both = (Channel.EMAIL, Channel.WHATSAPP)
    yield _many(None, (Channel.PUSH,), (), at_ms(0.1), texts.BROADCASTS[0])
    yield _many("mudanca", tuple(Channel), ids[:50], at_ms(0.2), texts.EVERYWHERE)
    yield _many("sao-joao", both, (*ids, UNKNOWN_CUSTOMER), at_ms(0.4), texts.CAMPAIGN)
    yield _many("frete", (Channel.SMS,), ids[: len(ids) // 3], at_ms(0.7), texts.WEEKEND)
    yield _many(None, (Channel.PUSH,), (), at_ms(0.9), texts.BROADCASTS[1])


def _person(number: int, chance: random.Random) -> CustomerRegistered:
    first, last = chance.choice(texts.FIRST_NAMES), chance.choice(texts.LAST_NAMES)
    address = f"{_ascii(first)}.{_ascii(last)}.{number}@example.com"
    phone = f"+55{chance.choice(texts.AREA_CODES)}98{chance.randrange(10_000_000):07}"
    return CustomerRegistered(id=str(number), name=f"{first} {last}", email=address, phone=phone)


def _ascii(name: str) -> str:
    """The name without accents, in lower case."""
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()


def _single(
    customers: tuple[CustomerRegistered, ...], due_at_ms: int, chance: random.Random
) -> ScheduleRequested:
    """One message for one customer who has every address."""
    customer = chance.choice(customers[3:])
    subject, body = chance.choice(texts.SINGLES)
    text = body.format(
        name=str(customer.name).partition(" ")[0],
        amount=f"{chance.randrange(10, 999)},{chance.randrange(100):02}",
        code=f"{chance.randrange(1_000_000):06}",
    )
    return ScheduleRequested(
        id=uuid.uuid4(),
        requester=BILLING,
        channels=(chance.choice(_ONE_BY_ONE),),
        customers=(customer.id,),
        due_at_ms=due_at_ms,
        message=_message(subject, text),
    )


def _many(
    campaign_id: str | None,
    channels: tuple[Channel, ...],
    customers: tuple[str, ...],
    due_at_ms: int,
    words: tuple[str, str],
) -> ScheduleRequested:
    return ScheduleRequested(
        id=uuid.uuid4(),
        requester="marketing",
        campaign_id=campaign_id,
        channels=channels,
        customers=customers,
        due_at_ms=due_at_ms,
        message=_message(*words),
    )


def _message(subject: str, body: str) -> Message:
    return Message(
        subject=subject,
        body=body.encode(),
        content_type=TEXT,
        attributes={"template": "demo", "idioma": "pt-BR"},
    )
