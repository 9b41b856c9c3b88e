"""What of a login needs code: `oauth_cb` in SAEC_KAFKA, a function that gets tokens.

Invariant: what it raises, and what it was given, is never quoted: either may hold a secret.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import structlog

from saec.errors import ConfigurationError

CALLBACK = "oauth_cb"

_log = structlog.get_logger("saec.kafka")


def with_callback(config: dict[str, Any]) -> dict[str, Any]:
    """The same with the function itself in place of `module:function`.

    Raises:
        ConfigurationError: there is no such function.
    """
    if CALLBACK not in config:
        return config
    return {**config, CALLBACK: _telling(_function(str(config[CALLBACK])))}


def _function(name: str) -> Callable[[str], Any]:
    module, _, function = name.partition(":")
    found: Any = None
    try:
        found = getattr(import_module(module), function, None) if module and function else None
    except Exception as error:
        kind = type(error).__name__
        raise ConfigurationError(
            f"SAEC_KAFKA: {CALLBACK}: its module cannot be imported ({kind}); it has to be on "
            "PYTHONPATH, or installed beside SAEC"
        ) from None
    if not callable(found):
        raise ConfigurationError(
            f"SAEC_KAFKA: {CALLBACK} is not `module:function`, the name of a function that "
            "returns a token and when it expires; see docs/security.md"
        )
    return found  # type: ignore[no-any-return]


def _telling(function: Callable[[str], Any]) -> Callable[[str], Any]:
    """The client says of a function that failed only that no token came."""

    def called(config: str) -> Any:
        try:
            return function(config)
        except Exception as error:
            _log.warning("no token came", kind=type(error).__name__)
            raise

    return called
