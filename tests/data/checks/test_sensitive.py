"""Personal data and secrets: found where they are, not found where they are not, shown nowhere."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from burnish.data.check import check_examples, check_files
from burnish.data.checks.masking import masked
from burnish.data.checks.personal import IBAN_LENGTHS, find_personal, is_card, is_iban, luhn
from burnish.data.checks.secret import find_secrets
from burnish.data.fingerprint import example_id
from burnish.data.load import read_examples
from burnish.errors import DataError
from burnish.records import Example, Message, Source

PERSONAL = {
    "EMAIL": ["anna.berg@mail.example.org", "o'neil+shop@firm.co.uk", "x_1@a-b.io"],
    "PHONE": [
        "+44 20 7946 0958", "+1-212-555-0123", "(212) 555-0123", "212-555-0123", "212.555.0123", "+49 (0)30 1234567",
        "020 7946 0958", "01 23 45 67 89", "phone: 5550123", "call me at 555 01 234", "+4915112345678",
    ],
    "CARD": ["4111 1111 1111 1111", "5500-0055-5555-5559", "378282246310005", "6011111111111117", "2223003122003222"],
    "IBAN": ["DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819", "FR14 2004 1010 0505 0001 3M02 606"],
    "SSN": ["078-05-1120", "219 09 9999"],
    "IP": ["203.0.113.25", "192.168.10.4", "2001:db8::8a2e:370:7334", "fe80:0:0:0:1:2:3:4"],
}  # fmt: skip
KEY = "".join(random.Random(1).choices("abcdefghijkmnpqrstuvwxyz23456789", k=60))
SECRETS = [
    "AKIA" + "IOSFODNN7EXAMPLE", "ghp_" + KEY[:36], "github_pat_" + KEY[:40], "sk-" + KEY[:48], "sk-ant-" + KEY[:40],
    "sk-proj-" + KEY[:40], "hf_" + KEY[:34], "glpat-" + KEY[:20], "xoxb-" + "1234567890-" + KEY[:20],
    "AIza" + KEY[:35], "sk_live_" + KEY[:24], "npm_" + KEY[:36],
    "eyJ" + KEY[:20] + ".eyJ" + KEY[:30] + "." + KEY[:40],
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
    "postgres://app:hunter2secret@db.internal/prod", "password: Tr0ub4dor&3", "my api key is " + KEY[:32],
    "Authorization: Bearer " + KEY[:40],
]  # fmt: skip
HARMLESS = [
    "Excision of Left Kidney, Percutaneous Approach", "ICD-10 code S72.001A, 0TB13ZX", "order 4111111111111112",
    "on 2024-03-15 at 10:30:45", "version 1.2.3.4 of the tool", "1,234,567.89 euros", "pages 100-200-300",
    "the password is incorrect", "what is my token balance", "task-force-seventeen-and-more-words", "2024/03/15",
    "see section 3.1.4.1", "as 7.2.1.5 says", "ISBN 978-3-16-148410-0", "a@b", "me @ home",
    "DE89 3704 0044 0532 0130 01",
    "room 101-12-13", "score 10-12-2024", "sk-learn and scikit-learn", "secret: nobody knows the trouble",
    "10000000000000", "::", "12:30:45", "std::vector::size", "000-12-3456", "https://example.org/a/0123456789/b",
]  # fmt: skip


@pytest.mark.parametrize(("sort", "text"), [(sort, text) for sort, texts in PERSONAL.items() for text in texts])
def test_personal_data_is_found_whole(sort: str, text: str) -> None:
    for before, after in (("", ""), ("It is ", "."), ("(", ")"), ("Anna, ", ", or so")):
        shown = masked(f"{before}{text}{after}")
        assert f"[{sort}]" in shown
        assert sum(sign.isdigit() for sign in shown) == 0


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_are_found(text: str) -> None:
    assert find_secrets(f"please use {text} today")
    shown = masked(f"please use {text} today")
    assert "[SECRET]" in shown or "[PRIVATE KEY]" in shown
    assert not any(text[at : at + 12] in shown for at in range(12, len(text) - 12) if KEY[8:20] in text)


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_stays(text: str) -> None:
    assert find_personal(text) == []
    assert find_secrets(text) == []


@given(st.integers(0, 10**18))
def test_luhn_against_the_slow_way(number: int) -> None:
    """The check digit is the one that makes the sum of doubled and single digits a multiple of ten."""
    body = str(number)
    doubled = [sum(divmod(2 * int(digit), 10)) for digit in body[::-1][::2]]
    single = [int(digit) for digit in body[::-1][1::2]]
    check = (-sum(doubled) - sum(single)) % 10
    assert [digit for digit in range(10) if luhn(f"{body}{digit}")] == [check]


@given(country=st.sampled_from(sorted(IBAN_LENGTHS)), seed=st.integers(0, 10**6))
@example(country="DE", seed=0)
def test_iban_has_one_right_pair_of_check_digits(country: str, seed: int) -> None:
    body = "".join(random.Random(seed).choices("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=IBAN_LENGTHS[country] - 4))
    digits = "".join(str(int(sign, 36)) for sign in f"{body}{country}00")
    right = f"{98 - int(digits) % 97:02d}"
    assert is_iban(f"{country}{right}{body}")
    assert not is_iban(f"{country}{right}{body[:-1]}")
    wrong = f"{(int(right) + 1) % 97:02d}"
    assert not is_iban(f"{country}{wrong}{body}")


def test_cards_need_an_issuer() -> None:
    assert not is_card("9111111111111111")
    assert not is_card("0000000000000000")


@given(st.text(max_size=300))
@example("a@b.cc" * 20)
@example("1-" * 200)
@example("-----BEGIN PRIVATE KEY-----" * 3)
def test_masking_masks_all_at_once(text: str) -> None:
    once = masked(text)
    assert masked(once) == once or find_personal(text) or find_secrets(text)
    if not find_personal(text) and not find_secrets(text):
        assert once == text


def row(text: str, line: int) -> Example:
    messages = (Message("user", text),)
    return Example(example_id(messages, "ab"[line % 2]), messages, "ab"[line % 2], Source("f", line))


def test_findings_count_rows_and_show_nothing() -> None:
    rows = [row(f"question {line}", line) for line in range(100)]
    rows += [row(f"mail me: u{line}@firm.com or {line}@firm.com", 100 + line) for line in range(3)]
    rows += [row("my card is 4111 1111 1111 1111, mail a@firm.com", 200), row(f"key {SECRETS[3]}", 201)]
    rows += [row("password: Tr0ub4dor&3", 202)]
    found = {(item.kind, item.severity): item for item in check_examples(rows, kind="generation").findings}
    personal = found["personal_data", "warning"]
    assert (personal.count, personal.rows) == (4, tuple(Source("f", line) for line in (100, 101, 102, 200)))
    assert "e-mail addresses (4)" in personal.message
    assert "card numbers (1)" in personal.message
    assert found["secret", "error"].rows == (Source("f", 201),)
    assert found["secret", "warning"].rows == (Source("f", 202),)


def test_bad_rows_show_nothing_either(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    good = "".join(json.dumps({"text": f"t{i}", "label": "ab"[i % 2]}) + "\n" for i in range(30))
    bad = {"text": "t", "label": ["anna.berg@mail.example.org " + "x" * 90, SECRETS[1]]}
    file.write_text(good + json.dumps(bad) + "\n" + '{"text": "anna.berg@firm.org", "label": oops}\n')
    with pytest.raises(DataError) as caught:
        read_examples(file, kind="classification")
    assert "[EMAIL]" in str(caught.value)
    for shown in (str(caught.value), json.dumps(caught.value.to_dict())):
        assert "anna.berg" not in shown
        assert KEY[:10] not in shown
    checked = check_files(file, kind="classification", allow_bad_rows=1)
    assert "anna.berg" not in str(checked.problems)


def test_labels_in_messages_are_masked() -> None:
    rows = [Example(str(i) * 8, (Message("user", str(i)),), "a@firm.com", Source("f", i)) for i in range(1, 9)]
    messages = [item.message for item in check_examples(rows, kind="classification").findings]
    assert any("[EMAIL]" in message for message in messages)
    assert not any("firm" in message for message in messages)
