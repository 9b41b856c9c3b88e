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
    assert json.loads(result.stdout) == {"published": 2, "failed": 0}
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
