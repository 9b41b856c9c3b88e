"""Where copies may go: which topics never, and which only when they are named twice.

Invariant: a topic that a process of an installation reads, or that a sender acts on, is never
written by mistake; and what SAEC itself says (ledger, status) is said by nobody else.
"""

from collections.abc import Collection

from saec.kafka import limits, topics
from saec.kafka.topics import TopicSpec
from saec.replay.errors import ReplayRefusedError
from saec.settings import Settings, Topics

# On top of the source's largest record: the headers that a copy has more. See copies.py.
HEADROOM_BYTES = 10_000


def check(
    settings: Settings, source: str, target: str, existing: Collection[str], really: str | None
) -> None:
    """Refuse a target that must not be written. `really` is the target, named a second time.

    Raises:
        ReplayRefusedError: says why, and what to do.
    """
    if source not in existing:
        raise ReplayRefusedError(f"there is no topic {source}")
    if target == source:
        raise ReplayRefusedError("source and target are the same topic: name another target")
    if really is not None and really != target:
        raise ReplayRefusedError("the target named the second time is another one")
    if target.startswith("__"):
        raise ReplayRefusedError(f"{target} is Kafka's own: it is never written")
    for names in _installations(settings, target, existing):
        _check_of(names, target, confirmed=really is not None)
    if target in settings.topics.all and target not in existing:
        raise ReplayRefusedError(f"{target} is missing, and no replay makes it: run `saec init`")


def _check_of(names: Topics, target: str, *, confirmed: bool) -> None:
    if target in {names.ledger, names.status, names.replays}:
        raise ReplayRefusedError(
            f"{target} holds what SAEC itself did and answered, and believes: it is never written "
            "by a replay; choose another target"
        )
    if target in names.all and not confirmed:
        raise ReplayRefusedError(
            f"{target} is live: {_consequence(names, target)}. If you mean it, name it twice: "
            f"--to {target} --really-into {target}"
        )


def _consequence(names: Topics, target: str) -> str:
    if target == names.requests:
        return "SAEC would take in and answer every copy"
    if target == names.customers:
        return "older addresses would replace newer ones, also of customers who were erased"
    if target == names.registry:
        return "a rebuild would take older addresses for what is registered"
    if target == names.rejected:
        return "the copies would look like refusals"
    return "its sender would be given every copy to send"


def _installations(settings: Settings, target: str, existing: Collection[str]) -> list[Topics]:
    """This one, and the other one on this cluster that the target belongs to, if any."""
    ours = settings.topics
    found = [ours]
    for suffix in (*Topics("").all, Topics("").replays):
        prefix = target.removesuffix(suffix)
        theirs = Topics(prefix)
        if prefix != target and set(theirs.all) <= set(existing) and theirs.all != ours.all:
            found.append(theirs)
    return found


def create(settings: Settings, source: str, target: str, partitions: int) -> None:
    """Make the target: as many partitions as the source, and room for its largest records.

    Raises:
        BrokerUnavailableError: no answer, or refused.
    """
    largest = limits.largest_bytes(settings, source) + HEADROOM_BYTES
    topics.create(settings, TopicSpec(target, partitions, {"max.message.bytes": str(largest)}))
