"""What is looked at: the scopes, and every way to break the protocol that must be noticed.

Invariant: a mutation changes the model in one place, and names the scope in which its shortest
counterexample is sought.
"""

from dataclasses import dataclass

from faults.protocol.apart import Apart, ApartScope
from faults.protocol.dispatch import Dispatch
from faults.protocol.ingest import Ingest, IngestScope
from faults.protocol.lost_ends import LostEnds, LostEndsScope
from faults.protocol.scope import Scope
from faults.protocol.sources import Sources, SourcesScope

AnyScope = Scope | IngestScope | SourcesScope | ApartScope | LostEndsScope
AnyModel = Dispatch | Ingest | Sources | Apart | LostEnds

# a and b in shard 0, c in shard 1; b may be stored late; one cancel of a.
ONE_SHARD = Scope("one shard", (0, 0), (0b01,), faults=3, late=0b10)
# One request of two slices, a batch each: a cancel that stops a part of it.
PARTLY = Scope("a cancel in part", (0, 0), (0b11,), faults=3, batch=1)
TWO_SHARDS = Scope("two shards", (0, 0, 1), (0b001,), faults=2, late=0b010)
MARKERS = Scope("slow markers", (0, 0), (0b01,), faults=2, late=0b10, markers=True)
MARKERS_TWO = Scope("slow markers, two shards", (0, 1), (0b01,), faults=1, markers=True)
OVERLAP = Scope("overlapped", (0, 0, 0), (0b001,), faults=2, late=0b100, batch=1, overlap=True)
OVERLAP_TWO = Scope(
    "overlapped, two shards", (0, 1, 0), (0b01, 0b10), faults=1, late=0b100, overlap=True
)
# Kafka does not take b, ever; a and c must not wait for it, and a cancel stops it.
REFUSED = Scope("a slice refused", (0, 0, 1), (0b010,), faults=1, batch=3, refused=0b010)
INGEST = IngestScope("ingest", records=3, batch=2, faults=3)
# One request and its cancel, in two partitions, and in one.
FAILOVER = SourcesScope("failover", ((1,), (-1,)), faults=1, loses=2)
FAILOVER_ONE = FAILOVER._replace(name="failover, one partition", partitions=((1, -1),))
PUT_BACK = SourcesScope("tables put back", ((1,), (-1,)), faults=1, restore=True)
HANGS = SourcesScope("tables put back, one hangs", ((1, -1),), faults=2, restore=True, zombies=True)
# A request in one partition, cancels in another, appended after it unless it is said otherwise.
APART = ApartScope("a cancel apart", (True,), faults=3)
APART_TWO = ApartScope("two cancels apart", (False, True), faults=2)
APART_BOTH = ApartScope("two cancels apart, both later", (True, True), faults=2)
# Batches of one worker, on a broker that loses the ends of transactions.
LOST_ENDS = LostEndsScope("lost ends", batches=4, faults=5)
SCOPES: tuple[AnyScope, ...] = (
    ONE_SHARD,
    PARTLY,
    TWO_SHARDS,
    MARKERS,
    MARKERS_TWO,
    OVERLAP,
    OVERLAP_TWO,
    REFUSED,
    INGEST,
    FAILOVER,
    FAILOVER_ONE,
    PUT_BACK,
    HANGS,
    APART,
    APART_TWO,
    APART_BOTH,
    LOST_ENDS,
)

# Mutations are sought in the smallest scope that shows them.
_PLAIN = Scope("one slice", (0,), (), faults=1)
_PLAIN_TWO = _PLAIN._replace(name="one slice, two faults", faults=2)
_CANCEL = Scope("one slice and its cancel", (0,), (0b1,), faults=1)
_REFUSED = Scope("one slice refused", (0, 0), (), faults=0, refused=0b01)
_OVERLAP = Scope("overlapped, no cancel", (0, 0, 0), (), faults=0, batch=1, overlap=True)
_OVERLAP_TWO = Scope("overlapped, two shards, no cancel", (0, 1, 0, 1), (), faults=1, overlap=True)
_APART = APART._replace(faults=0)
_LOST_ENDS = LostEndsScope("lost ends, two batches", batches=2, faults=2)
_APART_BOTH = APART_BOTH._replace(faults=1)
_BEFORE = ApartScope("a cancel of before", (False,), faults=0)


@dataclass(frozen=True)
class Mutation:
    """One way to break the protocol."""

    name: str
    what: str
    scope: AnyScope = _PLAIN


MUTATIONS = (
    Mutation("no-fence", "takeover without fencing the previous owner"),
    Mutation("no-ledger", "takeover without reading the ledger"),
    Mutation("no-conditions", "changes in PostgreSQL without the owner and epoch conditions"),
    Mutation("commit-error-success", "an error of a Kafka commit taken for success"),
    Mutation("commit-error-abort", "an unanswered Kafka commit taken for aborted"),
    Mutation("offsets-first", "ingest: offsets committed before PostgreSQL", INGEST),
    Mutation("no-membership", "ingest: answers that carry no membership", INGEST),
    Mutation("cancel-no-lock", "a cancel that takes no lock", _CANCEL),
    Mutation("cancel-ignores-claims", "a cancel that does not look at claims", _CANCEL),
    Mutation("cancel-decides-again", "a later cancel decides a second time", _CANCEL),
    Mutation("owner-in-memory", "the previous owner kept only in memory"),
    Mutation("cas-first", "compare and set before the fence", _PLAIN_TWO),
    Mutation("late-init", "a producer initialised after the compare and set", _PLAIN_TWO),
    Mutation("no-sentinel", "no sentinel: what the reader sees last is the end"),
    Mutation("any-sentinel", "any sentinel taken for mine", _PLAIN_TWO),
    Mutation("timeout-is-end", "a time-out while reading the ledger taken for its end"),
    Mutation("claim-retried", "a claim in doubt simply tried again"),
    Mutation("claims-dropped-early", "claims dropped before the ledger is resolved", _CANCEL),
    Mutation("claims-kept", "claims of a dead batch never dropped"),
    Mutation("release-early", "a shard released while a batch is built or in flight"),
    Mutation("dropped-shard", "a shard that was taken away, and is retaken by nobody", _PLAIN_TWO),
    Mutation("refused-again", "what Kafka refuses is never set apart", _REFUSED),
    Mutation("batch-numbers", "overlapped batches numbered batch_no + 1", _OVERLAP),
    Mutation("last-only", "overlapped: only the last committed batch deleted", _OVERLAP),
    Mutation(
        "claims-not-given-up",
        "overlapped: read-ahead dropped without giving up its claims",
        _OVERLAP_TWO,
    ),
    Mutation("server-unseen", "it is not looked at which server and tables these are", FAILOVER),
    Mutation("position-unseen", "ingest stores wherever its positions stand", FAILOVER_ONE),
    Mutation("positions-unseen", "a claim does not look whether positions went back", FAILOVER_ONE),
    Mutation(
        "not-seen-before-the-answer",
        "ingest answers without looking whether it still stands",
        FAILOVER_ONE,
    ),
    Mutation(
        "claim-not-seen-again",
        "a batch commits without looking whether its claim still stands",
        FAILOVER_ONE,
    ),
    Mutation(
        "open-batches-unseen",
        "ingest starts beside a batch that is open in the ledger",
        FAILOVER_ONE,
    ),
    Mutation(
        "applied-before-the-end-is-seen",
        "a commit taken for seen by its readers because it is reported as done",
        _LOST_ENDS,
    ),
    Mutation(
        "takeover-sees-the-ledger-alone",
        "a takeover that applies a batch whose messages hang in a channel topic",
        _LOST_ENDS,
    ),
    Mutation("request-does-not-look", "a request that looks for no cancel read before it", _APART),
    Mutation("cancel-does-not-look", "an unknown cancel that does not look again", _APART),
    Mutation("look-without-lock", "both look, and neither waits for the other's commit", _APART),
    Mutation("cancel-of-before", "a cancel appended before its request stops it", _BEFORE),
    Mutation(
        "late-unmarked", "a request stopped as it is stored, and its cancel left unknown", _APART
    ),
    Mutation(
        "stored-looks-again",
        "a request that is stored already and read again looks for cancels once more",
        _APART_BOTH,
    ),
)


def model(scope: AnyScope, mutation: str | None = None) -> AnyModel:
    """The model within a scope, whole or with a mutation."""
    mutations = frozenset({mutation} if mutation else ())
    if isinstance(scope, IngestScope):
        return Ingest(scope, mutations)
    if isinstance(scope, SourcesScope):
        return Sources(scope, mutations)
    if isinstance(scope, ApartScope):
        return Apart(scope, mutations)
    if isinstance(scope, LostEndsScope):
        return LostEnds(scope, mutations)
    return Dispatch(scope, mutations)
