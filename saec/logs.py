"""The log of a process: one line an event worth acting on, on stderr.

Invariant: every line is JSON when stderr is no terminal, also those of libraries, and says which
process wrote it.
"""

import json
import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

_Event = MutableMapping[str, Any]
# Made once: structlog would have another one made for each line.
_ENCODER = json.JSONEncoder(default=repr)


def configure_logs(role: str, level_name: str = "info", instance: str | None = None) -> None:
    """Log from `level_name` on: JSON, or colours on a terminal."""
    level = logging.getLevelNamesMapping()[level_name.upper()]
    renderer = (
        structlog.dev.ConsoleRenderer()
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer(_as_json)
    )
    shared: list[Any] = [
        _naming(role, instance),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # A line in one write: the other thread's and the Kafka client's lines come in between.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


def log_beside_output() -> None:
    """For a command: what it logs goes to stderr in words, and stdout has its result alone."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )


def _as_json(event: _Event, **_: Any) -> str:
    return _ENCODER.encode(event)


def _naming(role: str, instance: str | None) -> Callable[[Any, str, _Event], _Event]:
    """Puts the process's role, and its name if it has one, into every event."""
    name = {"role": role} if instance is None else {"role": role, "instance": instance}
    return lambda _logger, _method, event: {**name, **event}
