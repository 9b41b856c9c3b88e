"""Lateness: a steady stream of due messages, from when each is due to when a reader has it.

With nothing and with much that is pending for later, while requests come in; and while a campaign
goes out, beside the same without one. Beside all of them a transactional producer that has in
memory what is due when, and nothing else to do. Every setting runs once a round.
"""

import argparse
import random
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace

from bench import backlog, preload
from bench.at_once import topics, wait_for_all
from bench.events import fed
from bench.instants import check_ahead, now_ms, pause, wait_until_ms
from bench.lab import Lab
from bench.limit_stream import limit_stream
from bench.machine import described
from bench.meter import Meter, Weight
from bench.outcome import Outcome, Run, extra
from bench.part import Options, Part, numbers, sizes
from bench.processes import running
from bench.ratios import rotated
from bench.reader import reading
from bench.say import say
from bench.seen import Lateness, Readings, judge, waits_ms
from bench.site import Site
from bench.workload import Campaign, Singles
from saec.contracts.events import Channel

IDLE, CAMPAIGN, LIMIT = "no campaign", "campaign", "raw producer"
_SHARES = ("p50_ms", "p99_ms", "p999_ms", "max_ms")
_CAMPAIGN_AFTER_S = 5.0
_WARM_UP_S = 10.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """The sizes."""
    parser.add_argument("--rate", type=int, default=200, help="messages due a second")
    parser.add_argument("--seconds", type=float, default=120.0, help="for how long")
    parser.add_argument("--pending", type=numbers, default=(0, 1_000_000, 10_000_000))
    parser.add_argument("--ingest", type=int, default=1_000, help="requests a second meanwhile")
    parser.add_argument("--recipients", type=int, default=500_000, help="of the campaign; 0: none")
    parser.add_argument("--rounds", type=int, default=3, help="how often each setting runs")
    parser.add_argument("--lead", type=float, default=8.0, help="seconds to store what comes due")
    parser.add_argument("--linger", type=float, default=5.0, help="seconds to wait for doubles")


@dataclass(frozen=True)
class Setting:
    """What goes on beside the stream."""

    pending: int
    ingest_per_s: int = 0
    recipients: int = 0


def run(lab: Lab, given: Options) -> Outcome:
    """Every setting in every round."""
    outcome = Outcome("lateness", sizes(given), described(lab))
    settings = {backlog.named(count): Setting(count, given.ingest) for count in given.pending}
    if given.recipients:
        settings |= {IDLE: Setting(0), CAMPAIGN: Setting(0, recipients=given.recipients)}
    for setting in settings.values():
        preload.registry(backlog.loaded(lab, setting.pending), setting.recipients)
    say("a short run, to warm up")
    short = Options(**vars(given) | {"seconds": min(given.seconds, _WARM_UP_S)})
    say(f"  {stream(lab, short, next(iter(settings.values())), 'warm up').text()}")
    for number in range(given.rounds):
        for name in rotated([*settings, LIMIT], number):
            if name == LIMIT:
                done = limit(lab, given, f"{name} {number}")
            else:
                done = stream(lab, given, settings[name], f"{name} {number}")
            outcome.add(name, done)
            say(f"round {number + 1}, {name}: {done.text()}")
    _conclude(outcome, given)
    return outcome


def _conclude(outcome: Outcome, given: Options) -> None:
    for name in outcome.sides:
        for share in _SHARES:
            outcome.figure(f"{name}, {share}", name, extra(share))
    least, most = backlog.named(min(given.pending)), backlog.named(max(given.pending))
    if least != most:
        outcome.compare(f"p99, {most} / {least}", most, least, extra("p99_ms"))
    outcome.compare(f"p50, {LIMIT} / {least}", LIMIT, least, extra("p50_ms"))
    if given.recipients:
        outcome.compare(f"p99, {CAMPAIGN} / {IDLE}", CAMPAIGN, IDLE, extra("p99_ms"))


def stream(lab: Lab, given: Options, setting: Setting, label: str) -> Run:
    """One stream in one setting."""
    site = backlog.loaded(lab, setting.pending)
    roles = {"dispatch": 1, "requests": 1} if setting.ingest_per_s else {"dispatch": 1}
    with ExitStack() as block:
        meter = block.enter_context(Meter(lab.pids))
        reader = block.enter_context(
            reading(lab.bootstrap_servers, topics(site), lab.fresh("seen"))
        )
        meter.watch("reader", reader.pid)
        fleet = block.enter_context(running(site, lab.processes_log, meter, **roles))
        fleet.wait_until_owned(1)
        asked, campaign = _ask(site, given, setting, label)
        feeder = (
            block.enter_context(fed(site, f"fed {label} {now_ms()}", setting.ingest_per_s))
            if setting.ingest_per_s
            else None
        )
        wait_until_ms(asked.dues_ms[0])
        meter.restart()
        wait_for_all(reader, len(asked) + (campaign.messages if campaign else 0))
        weights = meter.weights()
        if feeder:
            feeder.stop()
        pause(given.linger)
        readings = reader.finish()
    if feeder:
        backlog.forget(site, feeder.published)
    return _judged(readings, asked, campaign, weights)


def limit(lab: Lab, given: Options, label: str) -> Run:
    """The same stream from a producer that has nothing else to do."""
    site = lab.site("saec")
    asked = drawn(given, label, now_ms() + round(given.lead * 1000))
    topic = site.settings.topics.dispatch[Channel.EMAIL]
    with (
        Meter(lab.pids) as meter,
        reading(lab.bootstrap_servers, [topic], lab.fresh("seen")) as reader,
        limit_stream(lab.bootstrap_servers, topic, asked) as pid,
    ):
        meter.watch("reader", reader.pid)
        meter.watch(LIMIT, pid)
        wait_until_ms(asked.dues_ms[0])
        meter.restart()
        wait_for_all(reader, len(asked))
        return _judged(reader.finish(), asked, None, meter.weights())


def drawn(given: Options, label: str, first_ms: int) -> Singles:
    """Messages at random instants, so many a second on average."""
    random_ = random.Random(label)  # noqa: S311 - the same in every run
    count, last_ms = round(given.rate * given.seconds), round(given.seconds * 1000)
    dues_ms = tuple(sorted(first_ms + random_.randrange(last_ms) for _ in range(count)))
    return Singles(f"stream {label} {first_ms}", dues_ms, backlog.CUSTOMERS)


def _ask(
    site: Site, given: Options, setting: Setting, label: str
) -> tuple[Singles, Campaign | None]:
    """Store the stream, and the campaign that comes due while it flows."""
    first_ms = now_ms() + round((given.lead + setting.recipients / 100_000) * 1000)
    asked = drawn(given, label, first_ms)
    preload.singles(site, asked)
    campaign = None
    if setting.recipients:
        due_ms = first_ms + round(_CAMPAIGN_AFTER_S * 1000)
        campaign = Campaign(f"campaign {first_ms}", due_ms, setting.recipients, (Channel.SMS,))
        preload.campaign(site, campaign)
    check_ahead(first_ms)
    return asked, campaign


def _judged(
    readings: Readings, asked: Singles, campaign: Campaign | None, weights: dict[str, Weight]
) -> Run:
    stream, others = asked.expected(), campaign.expected() if campaign else {}
    waits = waits_ms(readings, stream, others)
    lateness = Lateness.of(waits) if waits else None
    seen = replace(judge(readings, {**stream, **others}), lateness=lateness)
    counted = {"counted": len(waits), "histogram": histogram(waits)}
    return Run(0, seen, weights, {**(asdict(lateness) if lateness else {}), **counted})


def histogram(waits: Iterable[float]) -> list[tuple[int, int]]:
    """(whole milliseconds, how many were so late), ascending."""
    return sorted(Counter(int(wait_ms) for wait_ms in waits).items())


PART = Part(
    "lateness",
    __doc__ or "",
    "python -m bench lateness --seconds 15 --pending 0,100000 --recipients 50000 --rounds 1",
    add_options,
    run,
)
