"""How many messages the next round takes, by how long the last ones lasted.

Transactional messages overtake a campaign at the next round, so the rounds of a campaign are short;
among themselves they go in order, and bigger rounds are quicker. Invariant: never more than the
settings allow, never so few that a broker with slow commits is made slower still by their number.
"""

_OVERTAKEN_S = 0.2  # aimed at for a round with a part of a campaign
_IN_ORDER_S = 1.0
_FEWEST_SHARE = 20  # of the most that a round may take


class Pace:
    """The size of a worker's rounds: as many messages as go out in the time aimed at."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._fewest = max(1, most // _FEWEST_SHARE)
        self.messages = most

    def took(self, seconds: float, messages: int, *, campaign: bool) -> None:
        """A round of so many messages, with a part of a campaign or without, lasted so long."""
        aim_s = _OVERTAKEN_S if campaign else _IN_ORDER_S
        in_time = int(messages * aim_s / max(seconds, aim_s / 2))
        if seconds > aim_s:
            self._set(min(self.messages, max(in_time, self.messages // 2)))
        elif messages >= self.messages // 2:
            # Only rounds that were about full show that bigger ones would be quick as well.
            self._set(max(self.messages, in_time))

    def slower(self) -> None:
        """A round failed, perhaps by being too big."""
        self._set(self.messages // 2)

    def _set(self, messages: int) -> None:
        self.messages = max(self._fewest, min(self._most, messages))
