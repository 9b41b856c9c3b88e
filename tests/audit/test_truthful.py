"""What really happened gives no finding, and the counts that it should."""

from collections.abc import Callable

from saec.audit import Kind
from saec.contracts.events import Channel
from tests.audit.conftest import Told
from tests.audit.judge import Judge
from tests.audit.story import Story, drive_to

# What `everything` asks for, by channel: a number for each of its requests.
ASKED = {
    Channel.EMAIL: 1 + 5 + 5 + 3 + 1 + 5 + 5 + 1 + 5 + 1 + 5,
    Channel.SMS: 1 + 5 + 3 + 5,
    Channel.WHATSAPP: 5,
    Channel.PUSH: 1 + 1 + 1 + 1 + 1 + 1,
}
SKIPPED = {
    (Channel.EMAIL, "expired"): 3,
    (Channel.EMAIL, "opted_out"): 1,
    (Channel.EMAIL, "unknown_customer"): 1,
    (Channel.SMS, "no_address"): 1,
    (Channel.SMS, "unknown_customer"): 1,
    (Channel.WHATSAPP, "no_address"): 1,
    (Channel.WHATSAPP, "unknown_customer"): 1,
}
PENDING = 5 + 1
APART = 5


def test_everything(told: Told, judge: Judge) -> None:
    report = (judged := judge(told.story.settings)).report
    assert judged.findings == ()
    assert {channel: tally.asked for channel, tally in report.by_channel.items()} == ASKED
    assert {(one.channel, one.reason): one.messages for one in report.skipped} == SKIPPED
    sent = {channel: len(told.history.records[channel]) for channel in Channel}
    assert {channel: tally.dispatched for channel, tally in report.by_channel.items()} == sent
    midway = told.story.statuses(told.story.ids["stopped midway"])
    stopped = [one.counts["messages_stopped"] for one in midway if one.status == "CANCELLED"]
    assert report.total.stopped == PENDING + APART + stopped[0]
    apart = [one.status for one in told.story.statuses(told.story.ids["apart"])]
    assert apart == ["UNKNOWN_REQUEST", "ACCEPTED", "CANCELLED"]
    assert report.total.awaited == PENDING
    assert report.by_campaign["spring"].asked == 5 + PENDING
    assert report.by_campaign["autumn"].skipped == sum(SKIPPED.values()) - 3
    assert sum(tally.asked for tally in report.by_hour.values()) == sum(ASKED.values())
    assert report.gaps == ()
    assert report.reconciles


def test_a_copy_says_the_same(told: Told, judge: Judge) -> None:
    """So that what is planted in a copy is all that is wrong with it."""
    servers = told.story.settings.bootstrap_servers
    with told.history.copy().written(servers) as settings:
        copied = judge(settings)
    assert copied.findings == ()
    assert copied.report.total == judge(told.story.settings).report.total


def test_what_is_dispatched_before_it_is_answered(
    make_story: Callable[..., Story], judge: Judge
) -> None:
    """It is accepted, as the ledger tells; once it should have been answered long ago, it shows."""
    story = make_story()
    story.people()
    story.tell("first", ("p1", "nobody"))
    story.store_without_answers()
    drive_to(story, 0)
    soon = judge(story.settings, later_ms=0)
    assert soon.findings == ()
    assert soon.total() == {"asked": 2, "expected": 1, "dispatched": 1, "skipped": 1}
    assert [one.kind for one in judge(story.settings).findings] == [Kind.UNANSWERED]


def test_nothing_happened_yet(make_story: Callable[..., Story], judge: Judge) -> None:
    story = make_story()
    judged = judge(story.settings)
    assert (judged.findings, judged.total()) == ((), {})
    story.tell("first")
    assert judge(story.settings, later_ms=0).findings == ()
