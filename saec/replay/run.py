"""A replay from beginning to end: plan, survey, copy.

Each batch is one Kafka transaction: the copies, and in the journal how far the replay came by
them. The transactional id is that of the replay, so a second run fences the first before it reads
the journal.
Invariant: a record is copied once by a replay, whoever is killed, whenever, and however often it
runs. Anything unexpected ends the run; the next one begins at what is committed.
"""

from collections.abc import Iterator
from contextlib import closing

from saec.clock import Clock, SystemClock
from saec.kafka import stretches
from saec.kafka.records import Incoming
from saec.kafka.transaction import InDoubtError, TransactionalProducer
from saec.replay import journal
from saec.replay.copies import Copy, copy_of
from saec.replay.errors import ReplayRefusedError, ReplayStoppedError
from saec.replay.journal import Standing
from saec.replay.options import Options
from saec.replay.pace import Pace
from saec.replay.plan import check_kept, plan
from saec.replay.report import Progress, Report, Stage
from saec.replay.route import Route, find_route
from saec.replay.selection import Choice, Selection, choose
from saec.replay.survey import survey
from saec.settings import Settings

# A transaction is built before it begins, and ends long before Kafka would abort it.
_MOST_BYTES = 16 * 2**20


def _nobody(_stage: Stage, _done: int, _of: int) -> None:
    """Nobody is watching."""


def replay(
    settings: Settings,
    selection: Selection,
    target: str,
    options: Options | None = None,
    progress: Progress = _nobody,
    clock: Clock | None = None,
) -> Report:
    """Copy what is selected into `target`, once, however often this is called.

    Raises:
        ReplayRefusedError: it must not be done, or does not fit; nothing was copied.
        ReplayStoppedError: it ended before its end; call it again.
        BrokerUnavailableError: no answer, or not allowed.
    """
    chosen = options or Options()
    route = find_route(settings, selection, target, chosen)
    if route.replay_id is None or chosen.dry_run:
        return _foreseen(settings, selection, route, progress)
    journal.prepare(settings)
    try:
        with closing(_Run(settings, selection, route)) as run:
            return run.go(Pace(chosen.rate, clock or SystemClock()), progress)
    except InDoubtError as error:
        raise ReplayStoppedError(
            f"{error}. What was copied counts: the same replay, run again, goes on from there. "
            "If another run of it was started meanwhile, this one ended for it"
        ) from None


def _foreseen(settings: Settings, selection: Selection, route: Route, progress: Progress) -> Report:
    standing = None if route.digest is None else _known(settings, route)
    if standing is None:
        standing = journal.begin("", plan(settings, selection))
    return _counted(settings, selection, route, standing, progress)


def _counted(
    settings: Settings, selection: Selection, route: Route, standing: Standing, progress: Progress
) -> Report:
    """What is left, before any of it is copied."""
    counts = survey(settings, selection, route, standing.left, progress)
    return Report(
        route.replay_id, selection.topic, route.target, counts, copied_before=standing.copied
    )


def _known(settings: Settings, route: Route) -> Standing | None:
    """Where the replay stands; None: it never ran.

    Raises:
        ReplayRefusedError: the id belongs to another replay.
    """
    standing = journal.read(settings, route.replay_id or "")
    if standing is not None and standing.digest != route.digest:
        raise ReplayRefusedError(
            f"the id {route.replay_id} belongs to a replay of something else, or between other "
            "topics: give another --id"
        )
    return standing


class _Run:
    """One run of a replay. Making it ends every other run of the same replay.

    Raises from anywhere:
        InDoubtError: another run began, or Kafka failed.
    """

    def __init__(self, settings: Settings, selection: Selection, route: Route) -> None:
        self._settings = settings
        self._selection = selection
        self._route = route
        self._id = route.replay_id or ""
        self._producer = TransactionalProducer(
            settings,
            "replay",
            transactional_id=settings.transactional_id("replay", self._id),
            largest_bytes=route.largest_bytes,
        )

    def go(self, pace: Pace, progress: Progress) -> Report:
        """Copy what is left, and say what that was."""
        standing = self._begun()
        check_kept(self._settings, self._selection.topic, standing.left)
        report = _counted(self._settings, self._selection, self._route, standing, progress)
        for copies, then in self._batches(standing, pace.most_records):
            self._commit(copies, then)
            report.copied += len(copies)
            progress(Stage.COPYING, report.copied, report.chosen)
            pace.wait(len(copies))
        return report

    def close(self) -> None:
        """Let go of the producer; what it has open is aborted by the next run, or by Kafka."""
        self._producer.discard()

    def _begun(self) -> Standing:
        """Where the replay stands. The first run decides where it ends, and writes that down."""
        known = _known(self._settings, self._route)
        if known is not None:
            return known
        wanted = plan(self._settings, self._selection)
        first = journal.begin(self._route.digest or "", wanted)
        self._commit([], first)
        return first

    def _batches(
        self, standing: Standing, most_records: int
    ) -> Iterator[tuple[list[Copy], Standing]]:
        """What is left, cut into transactions, each with where the replay stands after it."""
        if not standing.left:
            return
        copies: list[Copy] = []
        size_bytes, reached = 0, dict(standing.reached)
        for record in self._records(standing):
            reached[record.partition] = record.offset + 1
            if choose(self._selection, record) is not Choice.CHOSEN:
                continue
            copies.append(copy_of(record, self._id, self._route.partitions))
            size_bytes += copies[-1].size_bytes
            if len(copies) >= most_records or size_bytes >= _MOST_BYTES:
                standing = standing.after(reached, len(copies))
                yield copies, standing
                copies, size_bytes = [], 0
        yield copies, standing.after(standing.ends, len(copies))

    def _records(self, standing: Standing) -> Iterator[Incoming]:
        for batch in stretches.read(self._settings, self._selection.topic, standing.left):
            yield from batch

    def _commit(self, copies: list[Copy], standing: Standing) -> None:
        self._producer.begin()
        for copy in copies:
            self._producer.produce(
                self._route.target, copy.value, copy.key, copy.headers, copy.partition
            )
        self._producer.produce(**journal.outgoing(self._settings, self._id, standing))
        self._producer.commit()
