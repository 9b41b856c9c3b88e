"""Holds what was asked against what was dispatched, from the topics: `saec audit` as a library."""

from saec.audit.findings import MEANING, Finding, Kind, Place
from saec.audit.report import Report, Tally
from saec.audit.run import Audit, audit, reconcile
from saec.audit.scope import Scope

__all__ = [
    "MEANING",
    "Audit",
    "Finding",
    "Kind",
    "Place",
    "Report",
    "Scope",
    "Tally",
    "audit",
    "reconcile",
]
