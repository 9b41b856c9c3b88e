"""Campaign: one campaign to very many customers by two channels, due at one instant.

Beside it: a burst of requests of one customer each, by the same worker, from the same registry.
"""

import argparse

from bench import burst, preload
from bench.at_once import sent_at_once
from bench.lab import Lab
from bench.machine import described
from bench.outcome import Outcome, Run
from bench.part import Options, Part, sizes
from bench.ratios import rotated
from bench.say import say
from bench.site import Site
from bench.workload import Campaign
from saec.contracts.events import Channel

CAMPAIGN, BURST = "campaign", "burst"
_CHANNELS = (Channel.EMAIL, Channel.SMS)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The sizes."""
    parser.add_argument("--recipients", type=int, default=1_000_000, help="customers of it")
    parser.add_argument("--messages", type=int, default=200_000, help="of the burst beside it")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side runs")
    parser.add_argument("--lead", type=float, default=8.0, help="seconds from stored to due")
    parser.add_argument("--linger", type=float, default=5.0, help="seconds to wait for doubles")


def run(lab: Lab, given: Options) -> Outcome:
    """Both sides in every round."""
    outcome = Outcome("campaign", sizes(given), described(lab))
    given.customers = given.recipients
    site = lab.site("saec")
    preload.registry(site, given.recipients)
    say("a first run, to warm up")
    say(f"  {burst.saec_run(lab, site, given, 1, f'{BURST} warm up').text()}")
    for number in range(given.rounds):
        for name in rotated([CAMPAIGN, BURST], number):
            if name == CAMPAIGN:
                done = campaign_run(lab, site, given, f"{name} {number}")
            else:
                done = burst.saec_run(lab, site, given, 1, f"{name} {number}")
            outcome.add(name, done)
            say(f"round {number + 1}, {name}: {done.text()}")
    outcome.rates()
    outcome.compare(f"{CAMPAIGN} / {BURST}", CAMPAIGN, BURST, lambda run: run.rate)
    return outcome


def campaign_run(lab: Lab, site: Site, given: Options, label: str) -> Run:
    """One campaign."""

    def asked(due_ms: int) -> Campaign:
        return Campaign(label, due_ms, given.recipients, _CHANNELS)

    # Storing a recipient takes far less than storing a request.
    return sent_at_once(lab, site, given, asked, workers=1, rows=given.recipients // 10)


PART = Part(
    "campaign",
    __doc__ or "",
    "python -m bench campaign --recipients 50000 --messages 20000",
    add_options,
    run,
)
