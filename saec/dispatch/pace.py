"""How many messages the next round takes, by how long the last ones lasted.

What becomes due or comes in late is claimed at the next round, so rounds are short, those of a
campaign more so while transactional messages are about to be due. Invariant: never more than the
settings allow, never so few that slow commits are made slower still by their number.
"""

_AIM_S = 0.1
_BESIDE_SHARE = 10  # of a round, for campaigns beside transactional messages
_FEWEST_SHARE = 10  # of the most that a round may take


class Pace:
    """The size of a worker's rounds: as many messages as go out in the time aimed at."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._fewest = max(1, most // _FEWEST_SHARE)
        self.messages = most

    @property
    def beside(self) -> int:
        """How many of a campaign, while transactional messages are about to be due."""
        return max(1, self.messages // _BESIDE_SHARE)

    def took(self, seconds: float, messages: int) -> None:
        """A round of so many messages lasted so long."""
        in_time = int(messages * _AIM_S / max(seconds, _AIM_S / 2))
        if seconds > _AIM_S:
            self._set(min(self.messages, max(in_time, self.messages // 2)))
        elif messages >= self.messages // 2:
            # Only rounds that were about full show that bigger ones would be quick as well.
            self._set(max(self.messages, in_time))

    def slower(self) -> None:
        """A round failed, perhaps by being too big."""
        self._set(self.messages // 2)

    def _set(self, messages: int) -> None:
        self.messages = max(self._fewest, min(self._most, messages))
