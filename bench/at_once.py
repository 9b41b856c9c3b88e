"""Everything that is asked for is due at one instant: how it goes out.

Invariant: the workers have their shards and the tables are vacuumed before that instant, so that
neither starting nor storing is in the figure.
"""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext

from bench import preload
from bench.instants import check_ahead, now_ms, pause, wait_until_ms
from bench.lab import Lab
from bench.meter import Meter
from bench.outcome import Run
from bench.part import Options
from bench.processes import running
from bench.reader import Reader, reading
from bench.say import Progress
from bench.seen import judge
from bench.site import Site
from bench.workload import Asked
from saec.contracts.events import Channel

LOOK_S = 0.01
_LONGEST_PAUSE_S = 60.0
_STORED_PER_S = 12_000


def sent_at_once(
    lab: Lab,
    site: Site,
    given: Options,
    ask: Callable[[int], Asked],
    *,
    workers: int,
    rows: int,
    state: AbstractContextManager[None] | None = None,
) -> Run:
    """Store `rows` rows of what `ask` says for a due instant, wait until then, and see it come.

    `state` is entered before that instant, and left when everything came.
    """
    site.empty()
    with (
        Meter(lab.pids) as meter,
        reading(
            lab.bootstrap_servers, topics(site), lab.fresh("seen"), look_every_s=LOOK_S
        ) as reader,
        running(site, lab.processes_log, meter, dispatch=workers) as fleet,
    ):
        meter.watch("reader", reader.pid)
        fleet.wait_until_owned(workers)
        due_ms = now_ms() + round((given.lead + rows / _STORED_PER_S) * 1000)
        asked = ask(due_ms)
        preload.store(site, asked)
        site.settle()
        with state or nullcontext():
            check_ahead(due_ms)
            wait_until_ms(due_ms)
            meter.restart()
            wait_for_all(reader, asked.messages)
        weights = meter.weights()
        pause(given.linger)
        seen = judge(reader.finish(), asked.expected())
    return Run(seen.rate, seen, weights)


def wait_for_all(reader: Reader, messages: int) -> None:
    """Wait until the reader has seen so many, or nothing for a minute."""
    progress = Progress("messages seen", messages)
    reader.wait_for(messages, longest_pause_s=_LONGEST_PAUSE_S, told=progress.at)


def topics(site: Site, channels: Collection[Channel] = (Channel.EMAIL, Channel.SMS)) -> list[str]:
    """The topics that the suite's messages go to."""
    return [site.settings.topics.dispatch[channel] for channel in channels]
