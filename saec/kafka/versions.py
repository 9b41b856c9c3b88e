"""Which APIs the brokers speak: the client tells it in its log, and nowhere else.

Invariant: only what the client said is known; a broker that it did not speak of is not.
"""

import logging
import re

_API = re.compile(r": (?:\w+://)?([^\s/]+:\d+)/\S+:\s+ApiKey (\w+) \(\d+\) Versions \d+\.\.(\d+)")
# Apache Kafka speaks this since 4.3. A client sees nothing that tells 4.3.0 from 4.4.0 or later.
_OF_4_3 = ("DescribeLogDirs", 5)


class Versions(logging.Handler):
    """The handler of a client's log, for `debug=feature`; other lines are passed on to `beyond`."""

    def __init__(self, beyond: logging.Logger | None = None, *, debug: bool = False) -> None:
        """`debug`: somebody asked for debug lines, so they are passed on as well."""
        super().__init__(logging.DEBUG)
        self.versions: dict[str, dict[str, int]] = {}
        """Of each broker that said so, `host:port`: name of an API -> its highest version."""
        self.complaint: str | None = None
        self._beyond = beyond
        self._least = logging.DEBUG if debug else logging.INFO

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of one line."""
        text = record.getMessage()
        if record.levelno >= logging.ERROR:
            self.complaint = text.rpartition("]: ")[2].partition(" (after ")[0]
        elif said := _API.search(text):
            self.versions.setdefault(said[1], {})[said[2]] = int(said[3])
        if self._beyond is not None and record.levelno >= self._least:
            record.name = self._beyond.name
            if self._beyond.isEnabledFor(record.levelno):
                self._beyond.handle(record)

    def logger(self) -> logging.Logger:
        """A logger for one client, which tells nobody but this handler."""
        made = logging.Logger("saec.kafka.versions", logging.DEBUG)
        made.addHandler(self)
        return made

    def of_4_3(self) -> list[str]:
        """The brokers that are Kafka 4.3 or later."""
        api, least = _OF_4_3
        return [broker for broker, apis in self.versions.items() if apis.get(api, 0) >= least]

    @property
    def may_lose_ends(self) -> bool:
        """Whether a broker is one that may lose the end of a transaction, or did not tell."""
        return not self.versions or bool(self.of_4_3())
