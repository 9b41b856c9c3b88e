"""How a replay is to be done."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """`id` names the replay; None: the same selection and target are the same replay.

    `rate` is records a second at most. `create` makes a target that is missing. `really_into` is
    the target a second time, where it is live. `dry_run` only counts.
    """

    id: str | None = None
    rate: float | None = None
    create: bool = False
    really_into: str | None = None
    dry_run: bool = False
