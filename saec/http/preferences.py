"""The `Prefer` header (RFC 7240), as far as it is understood here: `wait=N`.

Invariant: a preference that is not understood is passed over, as the RFC wants it.
"""

import re

from starlette.requests import Request

LONGEST_WAIT_S = 60
_WAIT = re.compile(r"\s*wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?:;.*)?", re.ASCII | re.IGNORECASE)


def wait_s(request: Request) -> int | None:
    """For how many seconds the caller would wait for the answer, at most 60; None: not at all."""
    for header in request.headers.getlist("prefer"):
        for preference in header.split(","):
            found = _WAIT.fullmatch(preference)
            if found:
                return min(int(found[1]), LONGEST_WAIT_S)
    return None


def applied(waited_s: int | None) -> dict[str, str]:
    """The header that says which preference was followed."""
    return {} if waited_s is None else {"Preference-Applied": f"wait={waited_s}"}
