"""Holds what came out against the model: every count must be 0.

Invariant: each record of the channel topics, of saec.status and of saec.rejected is accounted for
by exactly one thing that was asked, and each thing asked by what came out.
"""

import math
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from faults.asked import Asked, Cancel, Expected, Place, Request, Slice
from faults.findings import Findings
from faults.registry import Registry
from faults.wire import Record, answered, dispatched

Key = tuple[str, str]
Answer = dict[str, Any]
_LATE = "/late"
_UNREADABLE = "unreadable_record"


@dataclass(slots=True)
class Outcome:
    """What came out for one request: messages by (customer, channel), skips by slice."""

    messages: dict[Key, dict[str, Any]] = field(default_factory=dict)
    skips: dict[int, dict[str, Any]] = field(default_factory=dict)


@dataclass(slots=True)
class Output:
    """All that came out, taken apart once; `lates` are second answers, by what they answer."""

    findings: Findings
    outcomes: dict[str, Outcome] = field(default_factory=lambda: defaultdict(Outcome))
    answers: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    lates: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    copies: dict[str, list[Record]] = field(default_factory=lambda: defaultdict(list))
    messages: int = 0
    statuses: Counter[str] = field(default_factory=Counter)


def judge(
    asked: Asked,
    registry: Registry,
    records: Iterable[Record],
    prefix: str,
    due_before_ms: int | None = None,
) -> Output:
    """The verdict on everything in the topics; see `Output.findings`.

    With `due_before_ms`, of what was asked and due by then; the rest may still be to come.
    """
    output = Output(Findings())
    for record in records:
        _take(output, asked, record, prefix)
    until_ms = math.inf if due_before_ms is None else due_before_ms
    for place, expected in asked.answers.items():
        if asked.records[place].timestamp_ms < until_ms:
            _judge_answer(output, asked, place, expected)
    for request in asked.requests.values():
        if asked.wanted_ms(request) < until_ms:
            _judge_request(output, registry, request)
        if all(cancel.appended_ms < until_ms for cancel in request.cancels):
            _judge_cancels(output, request)
    _judge_strange(output, asked, prefix)
    return output


def _take(output: Output, asked: Asked, record: Record, prefix: str) -> None:
    if record.topic == f"{prefix}status":
        _take_status(output, record)
    elif record.topic == f"{prefix}rejected":
        output.copies[_source(record)].append(record)
    else:
        _take_message(output, asked, record)


def _judge_strange(output: Output, asked: Asked, prefix: str) -> None:
    """What answers nothing that was asked; most customers are not judged here."""
    strange = output.answers.keys() - {_id(place) for place in asked.answers}
    own = [
        one
        for one in strange
        if not one.startswith(f"{prefix}customers/")
        or any(answer["reason"] == _UNREADABLE for answer in output.answers[one])
    ]
    output.findings.add("unexpected", f"answers to {own[:3]}", len(own))
    may = {_id(c.place) for request in asked.requests.values() for c in request.cancels}
    lates = output.lates.keys() - may
    output.findings.add("unexpected", f"late answers to {sorted(lates)[:3]}", len(lates))


def _take_status(output: Output, record: Record) -> None:
    fields = answered(record)
    output.statuses[fields["status"]] += 1
    if record.header("ce_source") != "/saec/dispatch":
        about = record.header("ce_id")
        kept = output.lates if about.endswith(_LATE) else output.answers
        kept[about.removesuffix(_LATE)].append(fields)
        return
    number = fields["counts"].pop("slice")
    if fields["status"] == "SENT":
        return
    skips = output.outcomes[fields["request_id"]].skips
    if number in skips:
        output.findings.add("answers doubled", (fields["request_id"], number, fields["status"]))
    skips[number] = fields


def _take_message(output: Output, asked: Asked, record: Record) -> None:
    found, fields = output.findings, dispatched(record)
    output.messages += 1
    request_id, customer, channel = _key(fields)
    request = asked.requests.get(request_id)
    if request is None:
        found.add("unexpected", (request_id, customer, channel, record.place))
        return
    messages = output.outcomes[request_id].messages
    if (customer, channel) in messages:
        found.add("duplicate", (request_id, customer, channel, record.place))
        return
    messages[customer, channel] = fields
    if min(fields["dispatched_at"], record.timestamp_ms) < request.fields["due_at"]:
        found.add("early", (request_id, customer, channel, record.place))
    if not _is_whole(record, fields, request):
        found.add("altered", (request_id, customer, channel, record.place))


def _is_whole(record: Record, fields: dict[str, Any], request: Request) -> bool:
    request_id, customer, channel = _key(fields)
    message_id = str(uuid.uuid5(uuid.UUID(request_id), f"{channel}:{customer}"))
    asked = request.fields
    return (
        record.topic.endswith(f".{channel.lower()}")
        and fields["message_id"] == record.header("ce_id") == message_id
        and record.key == (customer or request_id).encode()
        and fields["message"]["body"] == asked["message"]["body"].encode()
        and fields["due_at"] == asked["due_at"]
        and fields["expires_at"] == asked.get("expires_at")
        and fields["requester"] == asked["requester"]
    )


def _key(fields: dict[str, Any]) -> tuple[str, str, str]:
    return fields["request_id"], fields["customer_id"] or "", fields["channel"]


def _judge_answer(output: Output, asked: Asked, place: Place, expected: Expected) -> None:
    found, given = output.findings, output.answers.get(_id(place), [])
    if len(given) != 1:
        kind = "answers doubled" if given else "answers lost"
        found.add(kind, (_id(place), [one["status"] for one in given]))
        return
    answer = given[0]
    if not _fits(answer, expected):
        found.add("answers contradictory", (_id(place), answer, sorted(expected.statuses)))
    if asked.records[place].lost and (answer["request_id"] is not None or answer["at"] != 0):
        found.add("answers contradictory", (_id(place), answer, "nothing is known of it"))
    copies = output.copies.get(_id(place), [])
    if len(copies) != (answer["status"] == "REJECTED"):
        found.add("answers contradictory", (_id(place), answer, f"{len(copies)} copies"))
    if copies and (copies[0].value or b"") != (asked.records[place].value or b""):
        found.add("altered", (_id(place), "the copy of what was refused"))


def _fits(answer: Answer, expected: Expected) -> bool:
    reason = expected.reason if answer["status"] == "REJECTED" else None
    if answer["status"] not in expected.statuses or answer["reason"] != reason:
        return False
    if expected.together:
        return True
    if expected.request is None:
        return not answer["counts"]
    return bool(answer["counts"]["messages"] == expected.request.size)


@dataclass(frozen=True, slots=True)
class _Decision:
    """The cancel that decided a request, and the answer that says so; `late`: the second one."""

    by: Cancel
    answer: Answer
    late: bool = False


def _decision(output: Output, request: Request) -> _Decision | None:
    """Whatever was stopped as it was stored; else who was first to be answered CANCELLED."""
    for cancel in request.cancels:
        for answer in output.lates.get(_id(cancel.place), ()):
            return _Decision(cancel, answer, late=True)
    for status in ("CANCELLED", "TOO_LATE"):
        for cancel in request.cancels:
            for answer in output.answers.get(_id(cancel.place), ()):
                if answer["status"] == status:
                    return _Decision(cancel, answer)
    return None


def _judge_cancels(output: Output, request: Request) -> None:
    """The answers to all cancels of a request tell of one decision, in one order."""
    given = {one: output.answers.get(_id(one.place), []) for one in request.cancels}
    if not all(len(answers) == 1 for answers in given.values()):
        return  # that was a finding already
    found, decision = output.findings, _decision(output, request)
    for cancel, (answer,) in given.items():
        lates = output.lates.get(_id(cancel.place), [])
        about = (_id(cancel.place), answer, lates, decision)
        found.add("answers doubled", about, len(lates) - 1)
        if lates and decision is not None and cancel is not decision.by:
            found.add("answers contradictory", about)
        if answer["status"] == "UNKNOWN_REQUEST" and _waits(cancel, decision):
            found.add("answers lost", about)
        elif not _agrees(cancel, answer, decision):
            found.add("answers contradictory", about)
    if decision is not None and not _is_possible(decision, request, given):
        found.add("answers contradictory", (request.fields["id"], decision))


def _waits(cancel: Cancel, decision: _Decision | None) -> bool:
    """Whether a cancel that was read before its request lacks its second answer."""
    if cancel.before or (decision and decision.by is cancel):
        return False
    return decision is None or not decision.late or cancel.age < decision.by.age


def _agrees(cancel: Cancel, answer: Answer, decision: _Decision | None) -> bool:
    if answer["status"] == "UNKNOWN_REQUEST":
        return not answer["counts"]
    if decision is None or answer["counts"] != decision.answer["counts"]:
        return False
    repeated = "TOO_LATE" if decision.answer["status"] == "TOO_LATE" else "ALREADY_CANCELLED"
    status = decision.answer["status"] if cancel is decision.by else repeated
    return bool(answer["status"] == status)


def _is_possible(decision: _Decision, request: Request, given: dict[Cancel, list[Answer]]) -> bool:
    """Whether the counts make the request, and the cancel could be the one that decided."""
    by, said = decision.by, decision.answer
    stopped, left = said["counts"]["messages_stopped"], said["counts"]["messages_left"]
    if stopped + left != request.size or (said["status"] == "TOO_LATE") != (stopped == 0):
        return False
    if decision.late:
        return by.apart and not by.before and left == 0
    earlier = [c for c in request.cancels if c.place[1] == by.place[1] and c.place < by.place]
    return all(given[one][0]["status"] == "UNKNOWN_REQUEST" for one in earlier)


def _judge_request(output: Output, registry: Registry, request: Request) -> None:
    outcome = output.outcomes[request.fields["id"]]
    absent = 0
    for part in request.slices:
        keys = list(part.messages())
        sent = {key: outcome.messages[key] for key in keys if key in outcome.messages}
        skipped = outcome.skips.get(part.number)
        if not sent and skipped is None:
            absent += part.size
        else:
            _judge_slice(output.findings, registry, request, part, sent, skipped)
    _judge_stopped(output, request, absent)
    whole = {key for part in request.slices for key in part.messages()}
    strange = outcome.messages.keys() - whole
    output.findings.add("unexpected", (request.fields["id"], strange), len(strange))


def _judge_stopped(output: Output, request: Request, absent: int) -> None:
    """What is absent must be just what the deciding cancel was answered to have stopped.

    A cancel that was read before its request, and waits for its second answer, stops all of it.
    """
    found, id_ = output.findings, request.fields["id"]
    decision = _decision(output, request)
    if decision is None:
        answers = [a for c in request.cancels if not c.before for a in output.answers[_id(c.place)]]
        stopped = request.size if answers else 0
    else:
        stopped = decision.answer["counts"].get("messages_stopped", 0)
    found.add("stopped but sent", (id_, stopped, absent), stopped - absent)
    late = decision is not None and decision.answer["status"] == "TOO_LATE"
    found.add(
        "too late but not sent" if late else "missing", (id_, stopped, absent), absent - stopped
    )


def _judge_slice(
    found: Findings,
    registry: Registry,
    request: Request,
    part: Slice,
    sent: dict[Key, dict[str, Any]],
    skipped: dict[str, Any] | None,
) -> None:
    id_, expires_ms = request.fields["id"], request.fields.get("expires_at")
    counts: dict[str, int] = {} if skipped is None else skipped["counts"]
    for channel in part.channels:
        said = {
            reason: count
            for name, count in counts.items()
            for where, reason in [name.split(".")]
            if where == channel
        }
        unsent = [c for c in part.customers or ("",) if (c, channel) not in sent]
        lacking = len(unsent) - sum(said.values())
        found.add("missing", (id_, part.number, channel, unsent[:3]), lacking)
        found.add("duplicate", (id_, part.number, channel, "sent and skipped"), -lacking)
        if skipped is not None:
            _judge_skips(found, registry, request, channel, (unsent, said, skipped["at"]))
    for (customer, channel), fields in sent.items():
        at_ms = fields["dispatched_at"]
        if expires_ms is not None and at_ms >= expires_ms:
            found.add("sent after expiry", (id_, customer, channel))
        if channel != "PUSH":
            _judge_address(found, registry, customer, channel, fields)
        elif fields["address"] is not None:
            found.add("wrong address", (id_, channel))


def _judge_address(
    found: Findings, registry: Registry, customer: str, channel: str, fields: dict[str, Any]
) -> None:
    possible = registry.possible(customer, fields["dispatched_at"])
    addresses = {version.outcome(channel)[0] for version in possible}
    if fields["address"] is None or fields["address"] not in addresses:
        found.add("wrong address", (fields["request_id"], customer, channel))


def _judge_skips(
    found: Findings,
    registry: Registry,
    request: Request,
    channel: str,
    slice_: tuple[list[str], dict[str, int], int],
) -> None:
    """Every reason must have been possible when the slice was read."""
    (unsent, said, at_ms), id_ = slice_, request.fields["id"]
    expires_ms = request.fields.get("expires_at")
    may: Counter[str] = Counter()
    for customer in unsent:
        reasons = {version.outcome(channel)[1] for version in registry.possible(customer, at_ms)}
        if expires_ms is not None and at_ms >= expires_ms:
            reasons = {"expired"}
        if not reasons & said.keys():
            found.add("wrongly skipped", (id_, customer, channel, said))
        may.update(reason for reason in reasons if reason)
    for reason, count in said.items():
        found.add("wrongly skipped", (id_, channel, reason), count - may[reason])


def _id(place: Place) -> str:
    return "/".join(map(str, place))


def _source(copy: Record) -> str:
    names = ("topic", "partition", "offset")
    return "/".join(copy.header(f"saec-source-{name}") for name in names)
