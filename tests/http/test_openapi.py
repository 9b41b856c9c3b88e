"""/openapi.json against the endpoint that serves it: a real process on the real parts.

schemathesis makes what the contract allows and what it forbids, and holds every answer against it.
SAEC_TEST_EXAMPLES says how many of each are tried.
"""

import copy
import json
import os
import re
import sys
import unicodedata
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, cast

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.routing import Route

from saec.cli.instants import wall_ms
from saec.contracts.events import Id
from saec.contracts.instants import iso
from saec.errors import Reason
from saec.http import contract, questions
from saec.http.app import make_app
from saec.http.bodies import JSON_LINES
from saec.http.endpoint import Endpoint
from saec.http.problems import Code
from saec.http.shapes import text_of
from saec.settings import Settings
from tests.http.endpoint import CALL_TIMEOUT_S, Served, answering

EXAMPLES = int(os.environ.get("SAEC_TEST_EXAMPLES", "40"))
DUE_MS = 1_800_000_000_000
Document = dict[str, Any]

# JSON Schema cannot say that an instant lies between 1970 and 9999 whatever its offset is.
schemathesis.openapi.format("date-time", st.integers(0, DUE_MS).map(iso))


@schemathesis.serializer(*JSON_LINES)
def as_lines(_: schemathesis.SerializationContext, value: Any) -> bytes:
    """JSON lines of a list; of a text that text, since any may be sent."""
    if isinstance(value, list):
        return b"".join(json.dumps(one).encode() + b"\n" for one in value)
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


@schemathesis.hook
def map_body(_: schemathesis.HookContext, body: Any) -> Any:
    """To JSON Schema 1.0 is an integer as well; SAEC wants it written as one."""
    return json.loads(json.dumps(body), parse_float=whole) if isinstance(body, dict) else body


def whole(digits: str) -> float | int:
    number = float(digits)
    return int(number) if number.is_integer() else number


@pytest.fixture(scope="module", autouse=True)
def answers(settings: Settings) -> Iterator[None]:
    """SAEC answers while this module runs."""
    with answering(settings):
        yield


def told_exactly() -> Document:
    """The contract, and no answer may have a field that it does not name."""
    document = copy.deepcopy(contract.document())
    for schema in document["components"]["schemas"].values():
        if schema.get("type") == "object":
            schema["unevaluatedProperties"] = False
    return document


def with_what_no_schema_can_say() -> Document:
    """The same, and what is made fits together, and is asked for by the right requester."""
    document = told_exactly()
    for name in ("RequestToCustomers", "RequestToEveryone", "Cancel"):
        document["components"]["schemas"][name]["properties"]["requester"] = {"const": "tests"}
    for name in ("RequestToCustomers", "RequestToEveryone"):
        fields = document["components"]["schemas"][name]["properties"]
        fields["expires_at"] = {"type": "integer", "minimum": DUE_MS + 1, "maximum": DUE_MS * 100}
        fields["due_at"]["anyOf"][1]["maximum"] = DUE_MS
    lines = {"type": "array", "items": {"$ref": "#/components/schemas/Request"}, "minItems": 1}
    content = document["paths"]["/v1/requests"]["post"]["requestBody"]["content"]
    for media_type in JSON_LINES:
        content[media_type] = {"schema": lines | {"maxItems": 3}}
    cursors = [
        p for p in document["paths"]["/v1/requests"]["get"]["parameters"] if p["name"] == "cursor"
    ]
    cursors[0]["schema"] = {
        "const": "MTc2NDAwMDAwMDAwMC82ZDFmMGMxZS0yYTU1LTRjM2UtOWEzOS0wZjFmMWQ2ZDhmMTA="
    }
    return document


def without_lines() -> Document:
    """The contract, less what it takes any text for."""
    document = told_exactly()
    content = document["paths"]["/v1/requests"]["post"]["requestBody"]["content"]
    for media_type in JSON_LINES:
        del content[media_type]
    return document


def asked_with(document: Document, prefer: str) -> Document:
    """The same, and everything is sent with this preference."""
    for path in document["paths"].values():
        for parameter in path.get("post", {}).get("parameters", ()):
            if parameter["name"] == "Prefer":
                parameter |= {"required": True, "schema": {"const": prefer}, "example": prefer}
    return document


def api(document: Document, mode: GenerationMode, **more: Any) -> Any:
    generation = {"mode": mode.value, "max-examples": EXAMPLES, "deterministic": True}
    chosen = {"generation": generation, "request-timeout": CALL_TIMEOUT_S}
    config = schemathesis.Config.from_dict(chosen | more)
    return schemathesis.openapi.from_dict(document, config=config)


ALLOWED = api(asked_with(with_what_no_schema_can_say(), "respond-async"), GenerationMode.POSITIVE)
FORBIDDEN = api(without_lines(), GenerationMode.NEGATIVE)
WAITED = api(
    asked_with(with_what_no_schema_can_say(), "wait=60"),
    GenerationMode.POSITIVE,
    phases={"coverage": {"enabled": False}},
)


@ALLOWED.parametrize()
def test_what_the_contract_allows_is_taken(case: Case, served: Served) -> None:
    call(case, served)


@FORBIDDEN.exclude(path="/v1/health").parametrize()
def test_what_the_contract_forbids_is_refused(case: Case, served: Served) -> None:
    if is_blank(case.body) and case.operation.label.endswith("/cancel"):
        return  # as good as none, which the contract allows
    call(case, served)


@WAITED.include(method="POST").parametrize()
def test_every_answer_of_saec_is_in_the_contract(case: Case, served: Served) -> None:
    call(case, served, excluded_checks=[positive_data_acceptance])


def is_blank(body: Any) -> bool:
    return isinstance(body, bytes) and not body.strip()


def call(case: Case, served: Served, **options: Any) -> None:
    headers = {"Authorization": f"Bearer {served.key}"}
    case.call_and_validate(served.url, headers=headers, **options)


def test_what_was_scheduled_is_found_and_cancelled_by_the_links(served: Served) -> None:
    """Only the links tell the ids. At the end of them are requests that are stored."""
    document = asked_with(with_what_no_schema_can_say(), "wait=60")
    for media_type in JSON_LINES:
        del document["paths"]["/v1/requests"]["post"]["requestBody"]["content"][media_type]
    for name in ("RequestToCustomers", "RequestToEveryone"):
        fields = document["components"]["schemas"][name]["properties"]
        fields["due_at"] = {"const": tomorrow()}
        del fields["id"]  # each is new, so that a scenario that is tried again ends the same
        del fields["campaign_id"]  # schemathesis would wait for a campaign to be made first
    for response in document["paths"]["/v1/requests/{request_id}/cancel"]["post"][
        "responses"
    ].values():
        response.pop("links", None)  # and begin with cancels alone
    linked = api(document, GenerationMode.POSITIVE)
    linked.config.update(base_url=served.url)
    seen: Counter[tuple[str, int]] = Counter()

    class Linked(linked.as_state_machine()):  # type: ignore[misc]
        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            return {"headers": {"Authorization": f"Bearer {served.key}"}}

        def after_call(self, response: schemathesis.Response, case: Case) -> None:
            operation = case.operation.definition.raw["operationId"]
            seen[operation, response.status_code] += 1

    Linked.run(
        settings=hypothesis.settings(
            max_examples=EXAMPLES // 4,
            stateful_step_count=6,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
    )
    assert {("schedule", 201), ("read", 200), ("cancel", 200)} <= set(seen), seen


# The document itself


def test_the_document_is_openapi_and_its_schemas_are_json_schema() -> None:
    FORBIDDEN.validate()
    for schema in contract.document()["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_the_document_is_served_and_shown_without_the_network(served: Served) -> None:
    told = served.get("/openapi.json", key="")
    assert told.json == contract.document()
    shown = served.get("/docs", key="")
    page, policy = shown.body.decode(), shown.headers["content-security-policy"]
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'self' 'sha256-{digest}';" in policy
    assert "default-src 'none'" in policy
    loaded = re.findall(r"(?:src|href)=\"([^\"]+)\"", page)
    assert len(loaded) >= 2
    for path in loaded:
        assert served.get(path, key="").status == 200, path
    assert "'/openapi.json'" in page


def test_every_route_is_in_the_document_and_the_reverse() -> None:
    app: Any = make_app(cast("Endpoint", None))._app._app._app  # behind what is around it
    routes = [route for route in app.routes if isinstance(route, Route)]
    served = {
        (route.path, method.lower())
        for route in routes
        for method in route.methods or ()
        if route.path.startswith("/v1/")
    }
    told = {(path, method) for path, of in contract.document()["paths"].items() for method in of}
    assert served == told


def test_every_code_stands_under_the_status_of_some_operation() -> None:
    found: set[str] = set()
    for path in contract.document()["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    schema = response["content"]["application/problem+json"]["schema"]
                    found |= set(schema["allOf"][1]["properties"]["code"]["enum"])
    of_messages = {Reason.EXPIRED, Reason.UNKNOWN_CUSTOMER, Reason.NO_ADDRESS, Reason.OPTED_OUT}
    of_customers = {Reason.KEY_MISMATCH, Reason.INVALID_EMAIL, Reason.INVALID_PHONE}
    of_avro = {Reason.INVALID_AVRO, Reason.UNKNOWN_SCHEMA}
    assert found == {*Code, *Reason} - {
        *(Code.METHOD_NOT_ALLOWED, Reason.SEVERAL, Reason.REQUESTER_MISMATCH),
        *of_messages,
        *of_customers,
        *of_avro,
    }
    assert found < set(
        contract.document()["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
    )


def test_the_examples_are_valid() -> None:
    content = contract.document()["paths"]["/v1/requests"]["post"]["requestBody"]["content"]
    examples = [example["value"] for example in content["application/json"]["examples"].values()]
    schema = {"$ref": "#/components/schemas/Request"}
    validator = Draft202012Validator(schema | {"components": contract.document()["components"]})
    for example in examples:
        validator.validate(example)
        questions.of_request(json.dumps(example).encode(), "tests", 1_000_000)
    lines = content["application/jsonl"]["example"].encode().splitlines()
    asked = [questions.of_line(line, "tests", 1_000_000) for line in lines]
    assert [one.action for one in asked] == ["schedule", "schedule", "cancel"]


def test_the_characters_of_an_id_are_those_that_saec_takes() -> None:
    """The contract writes them in another way, since not every language knows their names."""
    pattern = re.compile(text_of(Id)["pattern"].replace("$", r"\Z"))
    every = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]
    apart = [c for c in every if unicodedata.category(c)[0] in "CZ" and c < "\u3100"]
    differ = [c for c in every if bool(pattern.match(f"a{c}b")) != is_id(f"a{c}b")]
    assert differ == []
    assert len(apart) > 80
    for one in [*apart, "\u3164", "\ufeff", "\U000e0041"]:
        for text in (one, f"a{one}b", f"{one}b", f"a{one}"):
            assert bool(pattern.match(text)) == is_id(text), ascii(text)


_IDS = TypeAdapter(Id)


def is_id(text: str) -> bool:
    try:
        _IDS.validate_python(text)
    except ValueError:
        return False
    return True


def tomorrow() -> int:
    return wall_ms() + 86_400_000
