"""History: what SAEC would have written for millions of messages: `python -m bench.audit.history`.

Writes requests, answers, messages and ledger into the topics of the installation that the SAEC_*
variables name, quickly, and without its processes or PostgreSQL. Several processes share the
shards, as workers do. Invariant: the records are truthful: made by SAEC's own code, in an order of
events that could have been, with a few workers that died.
"""

import argparse
import gc
import json
import logging
import multiprocessing
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from confluent_kafka import TopicPartition

from bench.audit.answered import Ingest
from bench.audit.dispatched import Dispatch
from bench.audit.mix import Fate, Mix
from bench.audit.people import People
from bench.audit.stories import Part, Stories, Story
from bench.ends import ends
from bench.instants import now_ms
from bench.say import Progress, say
from saec.kafka import clients, topics
from saec.settings import Settings, load_settings
from saec.store.requests import SliceRow

CUSTOMERS = 100_000
_KEPT = {Fate.PENDING, Fate.CANCELLED}
_FLUSH_S = 60.0


@dataclass(frozen=True)
class Wanted:
    """How much, of what.

    `messages` are those that go out; the last campaign may add some. Those of a `wave` are held in
    memory.
    """

    messages: int
    processes: int = 2
    seed: int = 1
    customers: int = CUSTOMERS
    wave: int = 60_000
    mix: Mix = Mix()  # noqa: RUF009 - frozen


def write(settings: Settings, wanted: Wanted) -> Counter[str]:
    """Write a history into topics that are there and empty; what it comes to.

    Raises:
        RuntimeError: there is something in the ledger already.
    """
    _refuse_another(settings)
    people = People(wanted.customers)
    _register(settings, people)
    tally: Counter[str] = Counter({"customers registered": len(people.contacts)})
    parts = [Part(n, wanted.processes, settings.shards) for n in range(wanted.processes)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(parts), context, initializer=_prepare) as pool:
        for done in [pool.submit(write_part, settings, wanted, part) for part in parts]:
            tally += done.result()
    _answered_all(settings)
    return tally


def _prepare() -> None:
    gc.disable()  # nothing here goes in circles
    logging.getLogger("saec.kafka").setLevel(logging.CRITICAL)  # of workers that die on purpose


def write_part(settings: Settings, wanted: Wanted, part: Part) -> Counter[str]:
    """The requests of some shards, in waves, so that memory does not grow with the history."""
    people = People(wanted.customers)
    stories = Stories(wanted.mix, people, part, wanted.seed)
    tally: Counter[str] = Counter()
    ingest = Ingest(settings, tally)
    dispatch = Dispatch(settings, people.contacts, part.own, wanted.mix.crash_every, tally)
    share = -(-wanted.messages // part.of)
    progress = Progress(f"messages of process {part.number + 1}", share)
    while tally["messages"] < share:
        wave = _wave(stories, min(share - tally["messages"], wanted.wave))
        _write_wave(wave, ingest, dispatch, tally)
        progress.at(tally["messages"])
    dispatch.close()
    ingest.close()
    return tally


def _wave(stories: Stories, messages: int) -> list[Story]:
    """As many stories as come to so many messages."""
    wave: list[Story] = []
    at_ms, open_ = now_ms(), messages
    while open_ > 0:
        story = stories.next(at_ms)
        wave.append(story)
        open_ -= 0 if story.fate in _KEPT else story.messages
    return wave


def _write_wave(wave: list[Story], ingest: Ingest, dispatch: Dispatch, tally: Counter[str]) -> None:
    """Ask, answer, send what is due, cancel, answer that."""
    ingest.take((story.id, value) for story in wave for value in story.requests())
    due: list[SliceRow] = []
    for story in wave:
        tally[f"requests {story.fate}"] += 1
        due += _leaving(story, ingest)
    dispatch.send(due)
    ingest.take((story.id, value) for story in wave for value in story.cancels())
    tally["messages pending"] += sum(
        row.messages for held in ingest.held.values() for row in held.pending
    )
    ingest.held.clear()


def _leaving(story: Story, ingest: Ingest) -> list[SliceRow]:
    """What of a request goes out before anybody cancels it; no longer pending."""
    held = ingest.held.get(story.id)
    if held is None or story.fate in _KEPT:
        return []
    count = len(held.pending)
    if story.fate is Fate.STOPPED:
        count //= 2
    leaving = held.pending[:count]
    del held.pending[:count]
    return leaving


def _register(settings: Settings, people: People) -> None:
    producer = clients.producer(settings, **{"linger.ms": 20, "log_level": 0})
    for id_, value in people.events():
        producer.produce(settings.topics.customers, value, id_)
        producer.poll(0)
    if producer.flush(_FLUSH_S):
        raise RuntimeError("not every customer was registered in time")
    producer.close()


def _refuse_another(settings: Settings) -> None:
    topic = settings.topics.ledger
    if any(ends(settings.bootstrap_servers, [topic])[topic].values()):
        raise RuntimeError(f"{topic} is not empty: choose another SAEC_TOPIC_PREFIX")


def _answered_all(settings: Settings) -> None:
    """Bring the groups of ingest to the ends of their topics: everything is answered."""
    sources = {"requests": settings.topics.requests, "customers": settings.topics.customers}
    found = ends(settings.bootstrap_servers, sources.values())
    for role, topic in sources.items():
        consumer = clients.consumer(settings, settings.group_id(role))
        places = [TopicPartition(topic, *place) for place in found[topic].items()]
        consumer.commit(offsets=places, asynchronous=False)
        consumer.close()


def main() -> None:
    """Write a history, and say what it comes to, as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.audit.history",
        description=__doc__,
        epilog="Example: SAEC_TOPIC_PREFIX=h1. python -m bench.audit.history --messages 1000000",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--messages", type=int, default=1_000_000, help="that go out")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--customers", type=int, default=CUSTOMERS, help="different customers")
    given = parser.parse_args()
    settings = load_settings()
    topics.create_missing(settings, settings.shards)
    began_s = time.monotonic()
    tally = write(settings, Wanted(**vars(given)))
    seconds = time.monotonic() - began_s
    say(f"{tally['messages']:,} messages in {seconds:.0f} s: {tally['messages'] / seconds:,.0f}/s")
    sys.stdout.write(json.dumps(dict(sorted(tally.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
