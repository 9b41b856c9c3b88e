"""Which requests an audit is about."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Scope:
    """Requests that are due from `since_ms` until before `until_ms`, of one campaign or requester.

    What is None does not narrow it. `store`: and PostgreSQL, which can be compared only as a whole.
    """

    since_ms: int | None = None
    until_ms: int | None = None
    campaign_id: str | None = None
    requester: str | None = None
    store: bool = False

    @property
    def whole(self) -> bool:
        """Everything."""
        return replace(self, store=False) == Scope()

    def condition(self) -> tuple[str, list[object]]:
        """As SQL over due_ms, campaign_id and requester, with its values."""
        parts: list[tuple[str, object]] = [
            ("due_ms >= ?", self.since_ms),
            ("due_ms < ?", self.until_ms),
            ("campaign_id = ?", self.campaign_id),
            ("requester = ?", self.requester),
        ]
        given = [(sql, value) for sql, value in parts if value is not None]
        return " AND ".join(["true", *(sql for sql, _ in given)]), [value for _, value in given]
