"""The page: what it says first, that it runs and fetches nothing, that it stays small."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from uuid import UUID

import pytest

from saec.audit import MEANING, Finding, Kind, Place, Report, Scope, Tally
from saec.audit.page import PLACES, SHOWN, campaigns, chosen, page, shares
from saec.audit.plots import by_channel, by_time, short
from saec.audit.report import HOUR_MS, Gap, Skipped
from saec.audit.spans import spans
from saec.contracts.events import Channel

DUE_MS = 1_794_528_000_000  # 2026-11-13T00:00:00Z
EVIL = "<script>alert('x')</script>\x1b[2J\u202e\x00&\"'"
EMPTY = Tally(0, 0, 0, 0, 0, 0, 0, 0, {})
_VOID = {"meta", "link", "img", "br", "hr", "input"}


def tally(expected: int = 1_000, missing: int = 0, **others: int) -> Tally:
    found = {Kind.MISSING: missing} if missing else {}
    counts = {"from_ledger": 0, "skipped": 0, "stopped": 0, "awaited": 0, "unjudged": 0} | others
    asked = expected + sum(counts.values()) - counts["from_ledger"]
    return Tally(asked, expected, expected - missing, found=found, **counts)


def report(total: Tally | None = None, **others: object) -> Report:
    whole = total or tally(1_234_567, skipped=7, stopped=8, awaited=9)
    given = {
        "scope": Scope(),
        "as_of_ms": DUE_MS + 1,
        "late_ms": 300_000,
        "records": 2_345_678,
        "total": whole,
        "by_channel": {Channel.EMAIL: whole},
        "by_campaign": {"november": whole},
        "by_hour": {DUE_MS: whole},
        "skipped": (Skipped(Channel.EMAIL, "opted_out", 7),),
        "findings": {},
        "sources": {Channel.EMAIL: "topic and ledger"},
        "gaps": (),
    }
    return Report(**(given | others))  # type: ignore[arg-type]


def missing(count: int) -> Iterator[Finding]:
    for number in range(count):
        place = Place("t.requests", 3, 1_000_000 + number)
        yield Finding(
            Kind.MISSING, 1, (place,), UUID(int=number), "november", Channel.EMAIL, "42", DUE_MS
        )


class Seen(HTMLParser):
    """What a browser would make of it; complains about tags that do not fit."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.open
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def said(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.text))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def test_it_says_first_whether_it_reconciles() -> None:
    seen = Seen(page(report(), ()))
    assert seen.all("html") == [{"lang": "en"}]
    before = seen.said.partition("By channel")[0]
    for text in (
        "✓ It reconciles.",
        "1,234,567 messages were expected, and all of them were dispatched, once.",
        "2026-11-13T00:00:00.001Z",
        "at any instant",
        "2,345,678",
        "more than 300 s",
        "EMAIL: topic and ledger",
    ):
        assert text in before
    assert "✗" not in seen.said


def test_it_says_first_what_does_not() -> None:
    wrong = report(tally(3_000, missing=2), findings={Kind.MISSING: 2})
    seen = Seen(page(wrong, missing(2)))
    assert "✗ It does not reconcile." in seen.said.partition("As of")[0]
    told = "3,000 messages were expected, and 2,998 were dispatched. 2 findings: missing 2."
    assert told in seen.said
    assert MEANING[Kind.MISSING] in seen.said
    assert "t.requests/3/1000001" in seen.said
    assert str(UUID(int=1)) in seen.said
    assert "All of them" in seen.said


def test_what_differs_without_a_finding_does_not_reconcile() -> None:
    seen = Seen(page(report(replace(tally(5), dispatched=4)), ()))
    assert "✗ It does not reconcile." in seen.said
    assert "No finding says why." in seen.said


def test_the_scope_is_told() -> None:
    scope = Scope(DUE_MS, DUE_MS + HOUR_MS, "november", "billing")
    said = Seen(page(report(scope=scope), ())).said
    assert "from 2026-11-13T00:00:00Z until before 2026-11-13T01:00:00Z" in said
    assert "Campaignnovember Requesterbilling" in said


def test_what_strangers_wrote_is_text() -> None:
    whole = tally(5, missing=1)
    finding = Finding(
        Kind.MISSING, 1, (Place(EVIL, 0, 1),), None, EVIL, Channel.SMS, EVIL, 2**62, EVIL
    )
    wrong = report(
        whole,
        scope=Scope(campaign_id=EVIL, requester=EVIL),
        by_campaign={EVIL: whole},
        skipped=(Skipped(Channel.SMS, EVIL, 1),),
        gaps=(Gap(EVIL, 0, 1),),
        findings={Kind.MISSING: 1},
    )
    text = page(wrong, [finding])
    seen = Seen(text)
    assert not seen.all("script")
    assert not any(name.startswith("on") for _, attrs in seen.tags for name in attrs)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert seen.said.count("<script>alert('x')</script>\N{REPLACEMENT CHARACTER}[2J") == 9
    assert f"{2**62} ms" in seen.said


def test_it_runs_and_fetches_nothing() -> None:
    wrong = report(tally(5, missing=2), findings={Kind.MISSING: 2})
    text = page(wrong, missing(2))
    seen = Seen(text)
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & {
        tag for tag, _ in seen.tags
    }
    policy = [one for one in seen.all("meta") if one.get("http-equiv")]
    assert policy[0]["content"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert "@import" not in text
    assert all(found.startswith("#") for found in re.findall(r"url\((.*?)\)", text))
    for _, attrs in seen.tags:
        for name in ("href", "xlink:href", "src"):
            assert (attrs.get(name) or "#").startswith("#")


def test_what_it_refers_to_is_there_once() -> None:
    wrong = report(tally(5, missing=2), findings={Kind.MISSING: 2})
    text = page(wrong, missing(2))
    seen = Seen(text)
    ids = [attrs["id"] for _, attrs in seen.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    wanted = set(re.findall(r"url\(#(.*?)\)", text))
    for _, attrs in seen.tags:
        for name in ("href", "xlink:href", "aria-labelledby", "aria-describedby"):
            wanted |= {one.removeprefix("#") for one in (attrs.get(name) or "").split()}
    assert wanted <= set(ids)
    assert len(wanted) > 10


def test_tables_and_plots_can_be_heard() -> None:
    seen = Seen(page(report(gaps=(Gap("t.status", 1, 7),)), ()))
    assert len(seen.all("caption")) == len(seen.all("table")) == 5
    assert all(one.get("scope") in {"col", "row"} for one in seen.all("th"))
    plots = seen.all("svg")
    assert len(plots) == 2
    assert all(one["role"] == "img" and one["aria-labelledby"] for one in plots)


def test_a_frequent_kind_leaves_room_for_a_rare_one() -> None:
    counts = {Kind.MISSING: 5_000_000, Kind.DUPLICATE: 3, Kind.LATE: 9_000, Kind.FOREIGN: 1}
    found = shares(counts, 1_000)
    assert found == {Kind.MISSING: 498, Kind.DUPLICATE: 3, Kind.LATE: 498, Kind.FOREIGN: 1}
    assert list(found) == list(counts)
    assert shares({Kind.LATE: 7}, 1_000) == {Kind.LATE: 7}
    assert shares({}, 1_000) == {}


def test_no_more_is_read_than_is_shown() -> None:
    def one_too_many() -> Iterator[Finding]:
        yield from missing(3)
        yield Finding(Kind.FOREIGN, 0, ())
        raise AssertionError("read on")

    found = chosen(one_too_many(), {Kind.MISSING: 2, Kind.FOREIGN: 1})
    assert [len(some) for some in found.values()] == [2, 1]


def test_it_says_how_many_are_not_on_it() -> None:
    many = {Kind.MISSING: 2_000_000, Kind.FOREIGN: 1}
    wrong = report(tally(3_000_000, missing=2_000_000), findings=many)
    foreign = Finding(Kind.FOREIGN, 0, (Place("t.email", 0, 9),), detail="unknown_schema")
    text = page(wrong, [*missing(SHOWN), foreign])
    said = Seen(text).said
    assert "Below are 1,000 of them, the first of each kind. 1,999,001 more are not on" in said
    assert "saec audit --csv FILE" in said
    assert "The first 999 of 2,000,000" in said
    assert "t.email/0/9" in said
    assert len(text) < 500_000


def test_a_finding_with_many_records_names_the_first() -> None:
    places = tuple(Place("t.email", 0, n) for n in range(PLACES + 1_500))
    wrong = report(findings={Kind.DUPLICATE: 1})
    said = Seen(page(wrong, [Finding(Kind.DUPLICATE, 9, places)])).said
    assert f"t.email/0/{PLACES - 1} and 1,500 more" in said
    assert f"t.email/0/{PLACES}" not in said


def test_campaigns_that_disagree_come_first_and_the_rest_is_counted() -> None:
    many: dict[str | None, Tally] = {f"c{n}": tally(n) for n in range(1, 101)}
    many |= {"small": tally(1, missing=1), None: tally(10_000)}
    found = campaigns(many)
    assert [name for name, _ in found.shown[:3]] == ["small", None, "c100"]
    assert (len(found.shown), found.hidden, found.count, found.disagreeing) == (51, 51, 101, 1)
    said = Seen(page(report(by_campaign=many), ())).said
    assert "101 campaigns, 1 of them with findings: those are first, then the largest." in said
    assert "51 more are not on this page" in said
    assert "of no campaign" in said


def test_many_campaigns_that_disagree_are_bounded_as_well() -> None:
    found = campaigns({f"c{n}": tally(n, missing=1) for n in range(1, 1_001)})
    assert (len(found.shown), found.hidden) == (200, 800)
    assert found.shown[0][0] == "c1000"


def test_what_has_no_instant_is_not_lost() -> None:
    wrong = report(tally(5, missing=3), by_hour={DUE_MS: tally(5)}, findings={Kind.MISSING: 3})
    assert "3 messages in findings have no such instant" in Seen(page(wrong, missing(3))).said


def test_nothing_asked() -> None:
    nothing: Mapping[str, object] = {"by_channel": {}, "by_campaign": {}, "by_hour": {}}
    seen = Seen(page(report(EMPTY, **nothing, sources={}, skipped=()), ()))
    assert "✓ It reconciles." in seen.said
    assert "Nothing was asked for, and nothing was dispatched. Is the scope as meant?" in seen.said
    assert "Nothing was skipped." in seen.said
    assert not seen.all("svg")


def test_the_same_report_gives_the_same_bytes() -> None:
    assert page(report(), ()) == page(report(), ())


def test_a_plot_is_small_and_has_the_colours_of_the_page() -> None:
    many = {DUE_MS + n * HOUR_MS: tally(n, skipped=n, stopped=n, awaited=n) for n in range(10_000)}
    drawn = by_time(spans(many))
    assert len(drawn) < 60_000
    assert set(re.findall(r"(?:fill|stroke): (#\w+)", drawn)) == set()
    for text in ("Dispatched (filled) and expected (line)", "Skipped: 49,995,000", "Awaited: "):
        assert text in drawn
    assert "Unjudged" not in drawn


def test_a_plot_of_channels_names_what_there_is() -> None:
    drawn = by_channel({Channel.EMAIL: tally(9, missing=3), Channel.PUSH: tally(1, awaited=1)})
    assert {"EMAIL", "PUSH", "dispatched", "missing", "awaited"} <= set(
        re.findall(r">([^<>]+)</text>", drawn)
    )
    assert ">skipped<" not in drawn
    assert len(drawn) < 30_000


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (900, "900"), (1_500, "1.5k"), (20e6, "20M"), (3e9, "3G")]
)
def test_counts_on_an_axis_are_short(value: float, text: str) -> None:
    assert short(value) == text
