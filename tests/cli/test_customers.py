"""`saec customers`: what it publishes, and how it tells what is wrong in a file."""

import json
from pathlib import Path

import pytest

from saec.contracts.decode import decode_customer
from saec.contracts.events import Channel, CustomerRegistered
from saec.settings import Settings
from tests.cli.conftest import Run, whole_topic

SECRET = "ana@example.com"


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return tmp_path / "customers.csv"


def test_rows_become_registrations(here: Run, installation: Settings, csv: Path) -> None:
    csv.write_text(
        "id,name,email,phone,opted_out\n"
        '42,"Conceição, Ana",ana@example.com,+5511987654321,WHATSAPP|sms\n'
        "43,,,,\n",
        encoding="utf-8-sig",
    )
    result = here("customers", "load", csv, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["published"], told["failed"], told["customers"]) == (2, 0, 2)
    assert (told["email"], told["phone"], told["opted_out"]) == (1, 1, 1)
    assert (set(told["cleared"].values()), told["left_out"]) == ({0}, [])
    records = whole_topic(installation, installation.topics.customers)
    events = [decode_customer(key, value, None, 1_000_000) for key, value in records]
    assert sorted(events, key=lambda event: event.id) == [
        CustomerRegistered(
            id="42",
            name="Conceição, Ana",
            email="ana@example.com",
            phone="+5511987654321",
            opted_out=frozenset({Channel.SMS, Channel.WHATSAPP}),
        ),
        CustomerRegistered(id="43"),
    ]


def test_columns_may_be_few_and_in_any_order(here: Run, installation: Settings, csv: Path) -> None:
    csv.write_text("email,id\nana@example.com,42\n", "utf-8")
    assert here("customers", "load", csv).exit_code == 0
    (record,) = whole_topic(installation, installation.topics.customers)
    assert json.loads(record[1] or b"")["email"] == "ana@example.com"


def test_errors_name_lines_and_never_values(here: Run, installation: Settings, csv: Path) -> None:
    csv.write_text(
        f"id,name,email,phone,opted_out\n1,,,,\n,,{SECRET},,\n2,,,,{SECRET}\n3,{SECRET}\n", "utf-8"
    )
    result = here("customers", "load", csv)
    assert result.exit_code == 2
    assert "line 3: invalid_id" in result.stderr
    assert "line 4: unknown_channel" in result.stderr
    assert "line 5: 2 cells, not 5" in result.stderr
    assert "line 3: invalid_id" in result.stderr
    assert SECRET not in result.output
    assert whole_topic(installation, installation.topics.customers) == []


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (b"", "header"),
        (b"name,email\nAna,x\n", "header"),
        (b"id,nome\n1,Ana\n", "header"),
        (b"id,id\n1,1\n", "header"),
        (b"id,name\n", "no customer"),
        (b"\xef\xbb\xbfid;name\r\n\r\n", "no customer"),
        (b"id,name\n1,\xff\n", "UTF-8"),
        ("id,name\n1,Ana\n".encode("utf-16"), "UTF-16"),
        ("id,name\n1,Ana\n".encode("utf-16-be"), "UTF-16"),
        (b"id\tname\n1\tAna\n", "tabs"),
        (b"ID;Name\n1;Ana\n", "column 1 is not in small letters"),
        (b"id;name;\n1;Ana;\n", "column 3 has no name"),
        (b"id,email,phone,email\n1,,,\n", "column 4 has the name of another one"),
        (b"id,cpf\n1,1\n", "column 2 has another name"),
        (b"email\n\n", "id is missing"),
        (b"\n1\n", "it is empty"),
        (b'id,name\n1,"A"n\n', "CSV"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    saec: Run, csv: Path, content: bytes, advice: str
) -> None:
    csv.write_bytes(content)
    result = saec("customers", "load", csv)
    assert result.exit_code == 2
    assert advice in result.stderr


def test_a_file_that_is_not_there(saec: Run, csv: Path) -> None:
    result = saec("customers", "load", csv)
    assert result.exit_code == 2
    assert "No such file" in result.stderr


def test_semicolons_as_excel_writes_them(here: Run, installation: Settings, csv: Path) -> None:
    csv.write_bytes(
        'id;name;email\r\n42;"Silva; Ana, Dra.";ana@example.com\r\n'.encode("utf-8-sig")
    )
    result = here("customers", "load", csv)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"1 customer published to {installation.topics.customers}\n"
    ((key, value),) = whole_topic(installation, installation.topics.customers)
    assert key == b"42"
    assert json.loads(value or b"")["name"] == "Silva; Ana, Dra."


def test_the_decimal_comma_below_semicolons_is_no_separator(
    here: Run, installation: Settings, csv: Path
) -> None:
    csv.write_text("id;name\n1,5;Ana\n", "utf-8")
    assert here("customers", "load", csv).exit_code == 0
    ((key, _),) = whole_topic(installation, installation.topics.customers)
    assert key == b"1,5"


def published(installation: Settings) -> list[dict[str, object]]:
    """The registrations in the topic, without their type, by id."""
    records = whole_topic(installation, installation.topics.customers)
    events = [json.loads(value or b"{}") for _, value in records]
    for event in events:
        del event["type"]
    return sorted(events, key=lambda event: str(event["id"]))


def test_what_a_file_does_not_say_is_not_said(here: Run, installation: Settings, csv: Path) -> None:
    """A column that is not there, and a cell that is empty, leave opt-outs and addresses alone."""
    csv.write_text("id,email,phone,opted_out\n1,a@example.com,,\n2,,,SMS\n", "utf-8")
    result = here("customers", "load", csv)
    assert result.exit_code == 0, result.output
    assert published(installation) == [
        {"id": "1", "email": "a@example.com"},
        {"id": "2", "opted_out": ["SMS"]},
    ]


def test_an_empty_cell_clears_when_it_was_said(
    here: Run, installation: Settings, csv: Path
) -> None:
    csv.write_text("id,email,phone,opted_out\n1,a@example.com,,\n", "utf-8")
    clears = ("--empty-clears", "opted_out", "--empty-clears", "phone")
    result = here("customers", "load", csv, *clears)
    assert result.exit_code == 0, result.output
    assert "opted_out cleared of 1" in result.stderr
    assert "phone cleared of 1" in result.stderr
    (event,) = published(installation)
    assert event == {"id": "1", "email": "a@example.com", "phone": "", "opted_out": []}
    assert here("customers", "load", csv, "--empty-clears", "id").exit_code == 2


def test_a_dry_run_says_what_would_change(here: Run, installation: Settings, csv: Path) -> None:
    csv.write_text("id,email,phone,opted_out\n1,a@example.com,,EMAIL\n2,,,\n", "utf-8")
    result = here("customers", "load", csv, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "2 customers would be" in result.stdout
    assert "1 e-mail address set, 1 customer's opt-out set" in result.stderr
    assert published(installation) == []


EXCEL = {
    "5,51198765E+12": "scientific notation",
    "5511987654321.0": "decimals",
    "5511987654321,0": "decimals",
    "'+5511987654321": "apostrophe",
    '="+5511987654321"': "formula",
    "=SOMA(A1)": "formula",
    "NULL": "word for nothing",
    "\\N": "word for nothing",
    "#N/D": "word for nothing",
    "None": "word for nothing",
    "+55 11 8765-4321": "ninth digit",
    "4002-8922": "service",
}


@pytest.mark.parametrize("cell", EXCEL)
def test_what_spreadsheets_do_to_a_number_is_named_before_anything_is_published(
    here: Run, installation: Settings, csv: Path, cell: str
) -> None:
    csv.write_text(f"id;email;phone\n1;a@example.com;+5511987654321\n2;;{cell}\n", "utf-8-sig")
    result = here("customers", "load", csv)
    assert result.exit_code == 2
    assert "line 3, column phone: " in result.stderr
    assert EXCEL[cell] in result.stderr
    assert cell not in result.output
    assert published(installation) == []


def test_what_is_not_valid_can_be_left_out(here: Run, installation: Settings, csv: Path) -> None:
    csv.write_text("id,email,phone\n1,ana at x,+5511987654321\n", "utf-8")
    refused = here("customers", "load", csv)
    assert (refused.exit_code, published(installation)) == (2, [])
    assert "line 2, column email: not an e-mail address: no @" in refused.stderr
    result = here("customers", "load", csv, "--leave-out")
    assert result.exit_code == 1
    assert "line 2, column email: not an e-mail address" in result.stderr
    assert published(installation) == [{"id": "1", "phone": "+5511987654321"}]


def test_blanks_around_a_cell_and_emptied_rows_are_nothing(
    here: Run, installation: Settings, csv: Path
) -> None:
    csv.write_text(
        "id ;email;phone\n1;a@example.com ;\u00a0+5511987654321\u200b\n;;\n \u00a0;;\n", "utf-8-sig"
    )
    result = here("customers", "load", csv)
    assert result.exit_code == 0, result.output
    assert published(installation) == [
        {"id": "1", "email": "a@example.com", "phone": "+5511987654321"}
    ]


def test_an_id_that_comes_twice_is_refused(here: Run, installation: Settings, csv: Path) -> None:
    csv.write_text("id,email\n42,a@example.com\n43,\n42,\n", "utf-8")
    result = here("customers", "load", csv)
    assert result.exit_code == 2
    assert "line 4: the same id as in line 2" in result.stderr
    assert published(installation) == []


@pytest.mark.parametrize("id_", ["5,51198765E+12", "42.0", "NULL", '="42"'])
def test_ids_are_damaged_as_well(here: Run, installation: Settings, csv: Path, id_: str) -> None:
    csv.write_text(f"id;email\n{id_};\n", "utf-8")
    result = here("customers", "load", csv)
    assert result.exit_code == 2
    assert "line 2, column id: " in result.stderr
    assert published(installation) == []


def test_an_erasure_has_the_id_as_key_and_no_value(
    here: Run, installation: Settings, csv: Path
) -> None:
    csv.write_text("id\n" + "".join(f"{n}\n" for n in range(20)), "utf-8")
    assert here("customers", "load", csv).exit_code == 0
    result = here("customers", "erase", *(str(n) for n in range(20)), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"published": 20, "failed": 0}
    last = dict(whole_topic(installation, installation.topics.customers))
    # each partition is read in order: were an erasure elsewhere, a registration might come last
    assert last == {str(n).encode(): None for n in range(20)}


def test_an_id_that_is_none_erases_nobody(here: Run, installation: Settings) -> None:
    result = here("customers", "erase", "42", f" {SECRET}\n")
    assert result.exit_code == 2
    assert "ID 2" in result.stderr
    assert SECRET not in result.output
    assert whole_topic(installation, installation.topics.customers) == []
