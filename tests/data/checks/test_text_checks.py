"""Encoding, markup, refusals, leaked answers, cut answers, styles: what is found and what is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.data.check import check_examples
from burnish.data.checks.chat_markers import chat_marker
from burnish.data.checks.cut import breaks_off
from burnish.data.checks.encoding import damage, repaired
from burnish.data.checks.leaks import holds_json, is_marked, is_named
from burnish.data.checks.markup import has_markup, without_markup
from burnish.data.checks.refusals import is_refusal
from burnish.data.fingerprint import example_id
from burnish.records import Example, Finding, Json, Kind, Message, Source

SENTENCE = "The parcel left our store in the morning and reaches you within three days."


def make(text: str, target: Json, line: int) -> Example:
    messages = (Message("user", text),)
    return Example(example_id(messages, target), messages, target, Source("f", line))


def findings(rows: list[tuple[str, Json]], kind: Kind, wanted: str) -> list[Finding]:
    report = check_examples([make(*row, line) for line, row in enumerate(rows, 1)], kind=kind)
    return [item for item in report.findings if item.kind == wanted]


def lines(found: list[Finding]) -> list[int]:
    return sorted({place.line for item in found for place in item.rows})


@pytest.mark.parametrize(
    "text", ["café", "naïve Œuvre", "Straße № 5", "日本語", "a\tb\nc\r\n", "👩‍👩‍👧", "ﬁne", "“so”", "Ångström"]
)
def test_sound_text_is_left_alone(text: str) -> None:
    assert damage(text) is None
    assert repaired(text) == text
    for encoding in ("latin-1", "cp1252"):  # what reading UTF-8 as another encoding makes of it
        try:
            wrong = text.encode("utf-8").decode(encoding)
        except UnicodeDecodeError:
            continue
        if not text.isascii() and len(text) > 3 and damage(wrong) is not None:
            assert repaired(wrong) == text


@pytest.mark.parametrize(
    "text", ["cafÃ© crÃ¨me", "itâ€™s", "lost \ufffd letter", "bell\x07", "\x1b[31mred", "\ufeffmark", "a\x92b"]
)
def test_damage_is_found(text: str) -> None:
    assert damage(text) is not None
    if "\ufffd" not in text:
        assert damage(repaired(text)) is None


@given(st.text(st.characters(codec="ascii"), max_size=60))
def test_repair_of_ascii_takes_control_characters_alone(text: str) -> None:
    assert repaired(text) == "".join(sign for sign in text if (sign >= " " and sign != "\x7f") or sign in "\n\r\t")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("<p>Hello <b>you</b></p>", "Hello you"),
        ("one<br/>two", "one\ntwo"),
        ("fish &amp; chips", "fish & chips"),
        ("<script>evil()</script>good<!-- note -->", "good"),
        ('<a href="x">link</a>', "link"),
    ],
)
def test_markup_is_found_and_removed(text: str, plain: str) -> None:
    assert has_markup(text)
    assert without_markup(text) == plain


@pytest.mark.parametrize(
    "text", ["a < b and c > d", "<name> goes here", "AT&T", "x <- y", "R&D; more", "if a<b then"]
)
def test_signs_are_no_markup(text: str) -> None:
    assert not has_markup(text)
    assert without_markup(text) == text


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but as an AI language model I cannot do this.",
        "Sorry, I am unable to assist with this request.",
        "I cannot provide medical advice.",
        "Unfortunately, I can't answer that question.",
        "As a large language model, I have no feelings.",
        "I'm just an AI, so I do not know.",
        "I won't be able to help you there.",
        "That is against my guidelines.",
    ],
)
def test_refusals(answer: str) -> None:
    assert is_refusal(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry to hear that. Your refund is on its way.",
        "Sorry for the delay, the parcel arrives on Monday.",
        "You cannot return opened goods.",
        "She said: I can't believe it!",
        "AI is a field of computer science.",
        "Unfortunately, the shop is closed on Sundays.",
    ],
)
def test_what_only_sounds_like_a_refusal(answer: str) -> None:
    assert not is_refusal(answer)


def test_refusals_and_phrases_among_answers() -> None:
    rows: list[tuple[str, Json]] = [(f"q{i}", f"{SENTENCE} No {i}.") for i in range(100)]
    rows += [("q", "I'm sorry, but I can't help with that."), ("r", f"Sure! {SENTENCE}")]
    found = findings(rows, "generation", "refusal")
    assert [(item.severity, lines([item])) for item in found] == [("warning", [101]), ("info", [102])]
    often = [(f"q{i}", "I cannot help with that.") for i in range(50)] + rows[:50]
    assert [item.severity for item in findings(often, "generation", "refusal")] == ["info"]
    assert findings([(f"q{i}", "ab"[i % 2]) for i in range(100)], "classification", "refusal") == []


def test_leak_forms() -> None:
    assert is_marked("my money? label: Refund", "refund")
    assert is_marked("the answer is 42", "42")
    assert is_marked("my money [refund]", "refund")
    assert not is_marked("I want a refund", "refund")
    assert not is_marked("the answer is 421", "42")
    assert is_named("card_arrival please", "card_arrival")
    assert not is_named("my card please", "card")
    assert holds_json('see { "a": 1,\n "b": "x y" }', {"a": 1, "b": "x y"})
    assert not holds_json("{}", {})


def test_leaks_among_rows() -> None:
    rows: list[tuple[str, Json]] = [(f"question {i}", ["card_lost", "top_up"][i % 2]) for i in range(100)]
    rows += [("what now? category: top_up", "top_up"), ("card_lost where is it", "card_lost")]
    assert lines(findings(rows, "classification", "answer_leak")) == [101, 102]
    free: list[tuple[str, Json]] = [(f"question {i}", f"{SENTENCE} {i}") for i in range(100)]
    free += [(f"tell me: {SENTENCE}", SENTENCE)]
    assert lines(findings(free, "generation", "answer_leak")) == [101]
    copied = [(f"pick from: {SENTENCE} {i}.", f"{SENTENCE} {i}.") for i in range(100)]
    assert [item.severity for item in findings(copied, "generation", "answer_leak")] == ["info"]
    objects: list[tuple[str, Json]] = [(f"bill {i}", {"total": str(i), "day": "x"}) for i in range(60)]
    objects += [('bill {"total": "7", "day": "y"}', {"total": "7", "day": "y"})]
    assert lines(findings(objects, "extraction", "answer_leak")) == [61]


def test_answers_that_break_off() -> None:
    assert breaks_off("It is in the")
    assert breaks_off("```python\nx = 1")
    assert not breaks_off("```python\nx = 1\n```")
    assert not breaks_off("It is in.")
    rows: list[tuple[str, Json]] = [(f"q{i}", f"{SENTENCE} Thanks, customer {i}.") for i in range(200)]
    rows += [("cut", SENTENCE[:50]), ("open", SENTENCE[:45].rsplit(" ", 1)[0] + " the"), ("short", "Yes")]
    assert lines(findings(rows, "generation", "truncated")) == [201, 202]
    unmarked = [(f"q{i}", f"{SENTENCE} so says customer {i}") for i in range(200)]
    assert findings(unmarked, "generation", "truncated") == []
    limit = [(f"q{i}", (SENTENCE + " ") * 4 + "x" * i + ".") for i in range(90)]
    limit += [(f"r{i}", ((SENTENCE + f" {i} ") * 9)[:450]) for i in range(8)]
    assert lines(findings(limit, "generation", "truncated")) == list(range(91, 99))


def test_styles_of_fields() -> None:
    rows: list[tuple[str, Json]] = [
        (f"bill {i}", {"day": f"2024-03-{i % 28 + 1:02d}", "firm": f"Alpha {i}", "sum": i, "place": "Rome"})
        for i in range(300)
    ]
    odd: list[Json] = [
        {"day": "31/03/2024", "firm": "Beta", "sum": 1, "place": "Rome"},
        {"day": "2024-03-31", "firm": "GAMMA LTD", "sum": 1, "place": "Rome"},
        {"day": "2024-03-31", "firm": "Delta ", "sum": 1, "place": "Rome"},
        {"day": "2024-03-31", "firm": "Epsilon", "sum": "1", "place": "Rome"},
        {"day": "2024-03-31", "firm": "Zeta", "sum": 1},
    ]
    rows += [(f"odd {i}", target) for i, target in enumerate(odd)]
    assert lines(findings(rows, "extraction", "inconsistent_format")) == [301, 302, 303, 304, 305]
    assert findings(rows[:300], "extraction", "inconsistent_format") == []
    mixed = [(f"bill {i}", {"firm": ["Alpha", "BETA"][i % 2] + "x" * (i % 7)}) for i in range(100)]
    assert findings(mixed, "extraction", "inconsistent_format") == []


def test_styles_of_text_and_labels() -> None:
    rows: list[tuple[str, Json]] = [(f"q{i}", f"{SENTENCE} This is what you have {i}.") for i in range(100)]
    rows += [
        ("q", f"{SENTENCE}\n"),
        ("r", SENTENCE.upper()),
        ("s", "Das Paket ist nicht da, und ich habe es von der Post."),
    ]
    assert lines(findings(rows, "generation", "inconsistent_format")) == [101, 102, 103]
    labels: list[tuple[str, Json]] = [(f"q{i}", ["Top up", "refund"][i % 2]) for i in range(100)]
    labels += [("q", "top-up"), ("r", "Refund")]
    found = findings(labels, "classification", "label_spelling")
    assert lines(found) == [101, 102]
    assert "'Refund' (1) beside 'refund' (50)" in found[0].message


def test_a_language_that_was_asked_for_is_no_slip() -> None:
    english = "That is what you can do with it when the store is closed, and they are not at home."
    rows: list[tuple[str, Json]] = [(f"What can I do about order {i}?", f"{english} Number {i}.") for i in range(40)]
    asked = "Translate the sentence into {}: she went to school but it was closed."
    slip = ("Say what happened to the pupil at the school.", "她周一去了学校但是却发现没有其他的同学。")
    assert findings([*rows, (asked.format("Chinese"), slip[1])], "generation", "inconsistent_format") == []
    assert findings([*rows, (asked.format("Spanish"), slip[1])], "generation", "inconsistent_format")
    assert lines(findings([*rows, slip], "generation", "inconsistent_format")) == [41]


@pytest.mark.parametrize(
    ("text", "marker"),
    [
        ("<|im_start|>user\nHello", "<|im_start|>"),
        ("Yes.<|eot_id|>", "<|eot_id|>"),
        ("[INST] Where is it? [/INST] Here.", "[INST]"),
        ("<<SYS>>Be brief<</SYS>>", "<<SYS>>"),
        ("Hi<end_of_turn>\n", "<end_of_turn>"),
        ("<｜User｜>Hi", "<｜User｜>"),
        ("Below is a task.\n\n### Instruction:\nAdd.", "### Instruction:"),
        ("It is on its way.</s>", "</s>"),
    ],
)
def test_markers_of_chat_templates_are_found(text: str, marker: str) -> None:
    assert chat_marker(text) == marker


@pytest.mark.parametrize(
    "text",
    [
        SENTENCE, "a <b> c", "if a<|b: pass", "x = y <| z |> f", "<s>old</s>", "### Results\nFine",
        "[1] and [INSTALL]", "#### 72", "The key is <name>.", "see </section>", "| a | b |",
        "Note: ### Response: is a heading",
    ],
)  # fmt: skip
def test_text_without_markers_is_left_alone(text: str) -> None:
    assert chat_marker(text) is None


def test_rows_with_markers_are_named() -> None:
    rows: list[tuple[str, Json]] = [(f"{SENTENCE} {i}", f"It came on day {i}.") for i in range(40)]
    rows[7] = (rows[7][0], "It came.<|im_end|>")
    rows[9] = ("[INST] Where? [/INST]", "There.")
    [found] = findings(rows, "generation", "chat_marker")
    assert (found.count, lines([found])) == (2, [8, 10])
    assert "<|im_end|>" in found.message
