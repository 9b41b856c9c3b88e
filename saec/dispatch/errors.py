"""How a round can fail, beyond doubt.

Everything else that is raised in a round means "unknown", and ends in a takeover from oneself.
"""

from saec.errors import SaecError


class HaltError(SaecError):
    """Shards that must not be dispatched until a person has looked: shard -> why."""

    def __init__(self, reasons: dict[int, str]) -> None:
        super().__init__("; ".join(f"shard {shard}: {why}" for shard, why in reasons.items()))
        self.reasons = reasons
