"""Peers: the burst and the stream of due messages, by what people would use instead.

SAEC with one worker beside procrastinate, pgqueuer, graphile-worker, and, to be seen apart, the
loop that people write by hand. One worker process each. graphile-worker needs node and npm.
"""

import argparse
from dataclasses import asdict
from importlib import import_module

from bench import burst, lateness, preload
from bench.at_once import LOOK_S, topics, wait_for_all
from bench.instants import check_ahead, now_ms, pause, wait_until_ms
from bench.lab import Lab
from bench.machine import described
from bench.meter import Meter
from bench.outcome import Outcome, Run, extra
from bench.part import Options, Part, sizes
from bench.peers.peer import Peer, Place, worker
from bench.ratios import rotated
from bench.reader import reading
from bench.say import say
from bench.seen import judge
from bench.workload import Singles
from saec.contracts.events import Channel

# Imported when they run: their libraries are there once `make bench` installed them.
PEERS = {
    "procrastinate": "bench.peers.procrastinate",
    "pgqueuer": "bench.peers.pgqueuer",
    "graphile-worker": "bench.peers.graphile",
    "by hand": "bench.peers.by_hand",
}
SAEC = "SAEC"
_BURST, _STREAM = "burst", "stream"
_STORED_PER_S = 1_500


def add_options(parser: argparse.ArgumentParser) -> None:
    """The sizes."""
    parser.add_argument("--messages", type=int, default=50_000, help="of the burst")
    parser.add_argument("--customers", type=int, default=100_000, help="different customers")
    parser.add_argument("--rate", type=int, default=200, help="of the stream, a second")
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long")
    parser.add_argument("--only", choices=sorted(PEERS), action="append", help="these peers alone")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side runs")
    parser.add_argument("--lead", type=float, default=8.0, help="seconds from stored to due")
    parser.add_argument("--linger", type=float, default=5.0, help="seconds to wait for doubles")


def run(lab: Lab, given: Options) -> Outcome:
    """Every side in every round."""
    outcome = Outcome("peers", sizes(given), described(lab))
    preload.registry(lab.site("saec"), given.customers)
    peers: dict[str, Peer] = {name: import_module(PEERS[name]).PEER for name in given.only or PEERS}
    places = {name: _place(lab, peer) for name, peer in peers.items()}
    say("a first run, to warm up")
    say(f"  {burst.saec_run(lab, lab.site('saec'), given, 1, 'peers warm up').text()}")
    for number in range(given.rounds):
        for name in rotated([SAEC, *peers], number):
            for what in (_BURST, _STREAM):
                side = f"{name}, {what}"
                if name == SAEC:
                    done = _saec_run(lab, given, what, f"{side} {number}")
                else:
                    label = f"{side} {number}"
                    done = _peer_run(lab, given, peers[name], places[name], what, label)
                outcome.add(side, done)
                say(f"round {number + 1}, {side}: {done.text()}")
    for name in (SAEC, *peers):
        outcome.figure(f"{name}, per second", f"{name}, {_BURST}", lambda run: run.rate)
        for share in ("p50_ms", "p99_ms", "max_ms"):
            outcome.figure(f"{name}, {share}", f"{name}, {_STREAM}", extra(share))
    for name in peers:
        sides = f"{SAEC}, {_BURST}", f"{name}, {_BURST}"
        outcome.compare(f"burst, {SAEC} / {name}", *sides, lambda run: run.rate)
    return outcome


def _place(lab: Lab, peer: Peer) -> Place:
    directory = lab.fresh("peer")
    directory.mkdir()
    topic = lab.site("saec").settings.topics.dispatch[Channel.EMAIL]
    url = lab.database(peer.name.replace(" ", "_"))
    place = Place(url, lab.bootstrap_servers, topic, directory)
    peer.prepare(place)
    return place


def _saec_run(lab: Lab, given: Options, what: str, label: str) -> Run:
    if what == _BURST:
        return burst.saec_run(lab, lab.site("saec"), given, 1, label)
    return lateness.stream(lab, given, lateness.Setting(0), label)


def _peer_run(lab: Lab, given: Options, peer: Peer, place: Place, what: str, label: str) -> Run:
    look_s = LOOK_S if what == _BURST else 0.0
    seen_by = topics(lab.site("saec"))
    with (
        Meter(lab.pids) as meter,
        reading(lab.bootstrap_servers, seen_by, lab.fresh("seen"), look_every_s=look_s) as reader,
        worker(peer, place) as pid,
    ):
        meter.watch("reader", reader.pid)
        meter.watch("worker", pid)
        asked = _asked(given, what, label)
        peer.store(place, asked)
        lab.settle(place.database_url)
        check_ahead(asked.dues_ms[0])
        wait_until_ms(asked.dues_ms[0])
        meter.restart()
        wait_for_all(reader, len(asked))
        weights = meter.weights()
        pause(given.linger)
        seen = judge(reader.finish(), asked.expected())
    late = asdict(seen.lateness) if seen.lateness and what == _STREAM else {}
    return Run(
        seen.rate if what == _BURST else 0, seen, weights, {"guarantee": peer.guarantee, **late}
    )


def _asked(given: Options, what: str, label: str) -> Singles:
    if what == _BURST:
        due_ms = now_ms() + round((given.lead + given.messages / _STORED_PER_S) * 1000)
        return Singles(label, (due_ms,) * given.messages, given.customers)
    lead_s = given.lead + given.rate * given.seconds / _STORED_PER_S
    return lateness.drawn(given, label, now_ms() + round(lead_s * 1000))


PART = Part(
    "peers",
    __doc__ or "",
    "python -m bench peers --messages 5000 --seconds 5 --rounds 1 --only pgqueuer",
    add_options,
    run,
)
