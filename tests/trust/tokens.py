"""Gets tokens, as `oauth_cb` of SAEC_KAFKA names it: `tests.trust.tokens:token`.

They have no signature. Invariant: who a token names is what `sasl.oauthbearer.config` says.
"""

import base64
import json
import time

LIFETIME_S = 2.0
"""Shorter than any test that looks whether a client gets a new one in time."""


def token(config: str) -> tuple[str, float]:
    """A token for the principal that `config` names, and when it expires."""
    now_s = time.time()
    claims = {"sub": config.removeprefix("principal="), "iat": now_s, "exp": now_s + LIFETIME_S}
    return f"{_part({'alg': 'none'})}.{_part(claims)}.", now_s + LIFETIME_S


def failing(_config: str) -> tuple[str, float]:
    """What a function does whose token server is away."""
    raise OSError("s3cret is away")


def _part(value: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
