"""How many messages the next round takes, by how long the last ones lasted.

Whoever comes due meanwhile waits for a round to end. Invariant: never more than the settings allow,
never so few that a broker with slow commits is made slower still by their number.
"""

_TARGET_S = 0.3
_FEWEST_SHARE = 20  # of the most that a round may take


class Pace:
    """The size of a worker's rounds: halved when one is slow, grown again when they are quick."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._fewest = max(1, most // _FEWEST_SHARE)
        self.messages = most

    def took(self, seconds: float, messages: int) -> None:
        """A round of so many messages lasted so long."""
        if seconds > _TARGET_S:
            self.slower()
        elif seconds < _TARGET_S / 2 and messages >= self.messages // 2:
            # Only rounds that were about full show that bigger ones would be quick as well.
            self.messages = min(self._most, self.messages + self._most // _FEWEST_SHARE + 1)

    def slower(self) -> None:
        """A round was slow, or failed, perhaps by being too big."""
        self.messages = max(self._fewest, self.messages // 2)
