"""Copies a stretch of a topic into another one, once: `saec replay`."""

from saec.replay.errors import ReplayRefusedError, ReplayStoppedError
from saec.replay.options import Options
from saec.replay.report import Count, Report, Stage
from saec.replay.run import replay
from saec.replay.selection import Offsets, Selection

__all__ = [
    "Count",
    "Offsets",
    "Options",
    "ReplayRefusedError",
    "ReplayStoppedError",
    "Report",
    "Selection",
    "Stage",
    "replay",
]
