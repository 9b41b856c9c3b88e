"""One request of the demo by HTTP, as a system without a Kafka client schedules it.

Invariant: it uses what any requester has, a URL and a key; what is expected of it is expected
elsewhere, as of all others.
"""

from http import HTTPStatus

import urllib3
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from saec.contracts.events import ScheduleRequested
from saec.demo import wire
from saec.http.address import DOCS
from saec.keys import Scope, new_key
from saec.settings import Settings
from saec.store.engine import open_engine, transaction
from saec.store.keys import KeyRow, insert_key
from saec.store.shards import now_ms

_ANSWER_S = 10


class HttpRequester:
    """A requester who has the URL of the endpoint, and a key that is made now."""

    def __init__(self, settings: Settings, url: str, requester: str) -> None:
        self.docs_url = url + DOCS
        self._topics = settings.topics
        self._requests_url = f"{url}/v1/requests"
        self._headers = {
            "Authorization": f"Bearer {_add_key(settings, requester)}",
            "Content-Type": "application/json",
            "Prefer": f"wait={_ANSWER_S}",
        }
        self._http = urllib3.PoolManager(retries=False, timeout=2 * _ANSWER_S)

    def is_let_in(self) -> bool:
        """True when the endpoint answers, and knows the key."""
        try:
            return self._ask("GET", None).status == HTTPStatus.OK
        except HTTPError:
            return False

    def answer_to(self, event: ScheduleRequested) -> str:
        """Schedule it, and hear what becomes of it: `201 ACCEPTED`, or what it is instead."""
        try:
            answer = self._ask("POST", wire.schedule(self._topics, event).value)
            told = answer.json()
            return f"{answer.status} {told.get('code') or told['answer']['status']}"
        except (HTTPError, ValueError, LookupError, TypeError) as error:
            return type(error).__name__

    def _ask(self, method: str, body: bytes | None) -> BaseHTTPResponse:
        return self._http.request(method, self._requests_url, body=body, headers=self._headers)


def _add_key(settings: Settings, requester: str) -> str:
    """What `saec keys add` does; the key's text."""
    text, key_id, secret_hash = new_key()
    scopes = (Scope.SCHEDULE, Scope.READ)
    engine = open_engine(settings.database_url, application="saec-demo")
    try:
        with transaction(engine) as connection:
            made_at_ms = now_ms(connection)
            row = KeyRow(
                key_id, secret_hash, "demo", requester, scopes, None, made_at_ms, None, None
            )
            insert_key(connection, row)
    finally:
        engine.dispose()
    return text
