"""A corpus of malformed inputs: what a file holds, and where and how the damage must be named."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from burnish.data.streams import MAX_ROW_BYTES
from burnish.records import Kind

GOOD = {"text": "where is my card", "label": "card"}
USER = {"role": "user", "content": "hello"}
REPLY = {"role": "assistant", "content": "hi"}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
            "required": ["city"],
        },
    },
}


@dataclass(frozen=True)
class Case:
    """bytes in a file; the problem expected. got: part of the value shown ("" when there is none to show)."""

    name: str
    content: bytes
    extension: str
    kind: Kind
    line: int
    field: str
    what: str
    got: str = ""
    fix: str = ""
    fatal: bool = False  # the rest of the file is lost: --allow-bad-rows does not help
    options: dict[str, Any] = field(default_factory=dict)


def jsonl(*rows: Any) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def two_columns_of_one_name() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), sink)
    return sink.getvalue()


def row(name: str, bad: Any, field: str, what: str, got: str = "", **more: Any) -> Case:
    """A bad JSONL row between good ones of classification."""
    content = jsonl(GOOD, GOOD, bad, GOOD)
    return Case(name, content, "jsonl", "classification", more.pop("line", 3), field, what, got, **more)


def chat(name: str, bad: Any, field: str, what: str, got: str = "", kind: Kind = "generation", **more: Any) -> Case:
    """A bad row between good rows of messages. bad: the list of messages, or a whole row."""
    bad = {"messages": bad} if isinstance(bad, list) else bad
    good: dict[str, Any] = {"messages": [USER, REPLY]}
    if kind == "tool_calling":
        good = call({"city": "Paris"})
    return Case(name, jsonl(good, bad, good), "jsonl", kind, 2, field, what, got, **more)


def call(arguments: Any, name: str = "weather", tools: Any = (TOOL,)) -> dict[str, Any]:
    answer = {"role": "assistant", "tool_calls": [{"function": {"name": name, "arguments": arguments}}]}
    return {"messages": [USER, answer], "tools": list(tools)}


def extract(name: str, target: Any, field: str, what: str, got: str = "", **more: Any) -> Case:
    good = {"text": "total 9.00", "target": {"total": "9.00"}}
    bad = {"text": "total 9.00", "target": target}
    return Case(name, jsonl(good, bad, good), "jsonl", "extraction", 2, field, what, got, **more)


def table(name: str, content: str | bytes, line: int, field: str, what: str, got: str = "", **more: Any) -> Case:
    raw = content if isinstance(content, bytes) else content.encode()
    return Case(name, raw, more.pop("extension", "csv"), "classification", line, field, what, got, **more)


SCHEMA = {
    "type": "object",
    "properties": {"total": {"type": "string"}, "currency": {"enum": ["EUR", "USD"]}, "items": {"type": "array"}},
    "required": ["total"],
    "additionalProperties": False,
}
CARDS = {"labels": ["card", "transfer"]}
G = json.dumps(GOOD).encode()

JSON_SYNTAX = [
    row("not json", b"hello there", "", "not valid JSON", "hello there"),
    row("cut off", b'{"text": "a", "lab', "", "not valid JSON", "lab", fix="cut off"),
    row("trailing comma", b'{"text": "a", "label": "b",}', "", "not valid JSON", '"b",}', fix="trailing comma"),
    row("single quotes", b"{'text': 'a', 'label': 'b'}", "", "not valid JSON", "'text'", fix="double quotes"),
    row("python literals", b'{"text": "a", "label": None}', "", "not valid JSON", "None", fix="null"),
    row("two objects on a line", G + G, "", "Extra data", "label", fix="one JSON value on a line"),
    row("object and comma", G + b",", "", "Extra data", ",", fix="one JSON value on a line"),
    row("unquoted key", b'{text: "a", "label": "b"}', "", "not valid JSON", "text", fix="double quotes"),
    row("tab inside a string", b'{"text": "a\tb", "label": "c"}', "", "control character", "a\\tb", fix="\\t"),
    row("bad escape", b'{"text": "C:\\xdir", "label": "c"}', "", "escape", "xdir", fix="backslash"),
    row("comment", b"// rows of May", "", "not valid JSON", "rows of May"),
    row("NaN", b'{"text": "a", "label": "b", "score": NaN}', "", "NaN is not JSON", "NaN", fix="null"),
    row("Infinity", b'{"text": "a", "label": "b", "score": -Infinity}', "", "-Infinity is not JSON", "-Infinity"),
    row("huge float", b'{"text": "a", "label": "b", "score": 1e999}', "", "too large", "1e999"),
    row("huge integer", b'{"text": "a", "label": ' + b"9" * 5000 + b"}", "", "too many digits"),
    row("duplicate key", b'{"text": "a", "label": "b", "label": "c"}', "label", "twice", "'c'", fix="one of the two"),
    row("duplicate nested", b'{"text": "a", "label": "b", "x": {"y": 1, "y": 2}}', "y", "twice", "2"),
    row("bottomless", b"[" * 100_000 + b"]" * 100_000, "", "deep", fix="Flatten"),
    row("deep", b'{"text": "a", "label": "b", "x": ' + b"[" * 150 + b"]" * 150 + b"}", "", "more than 100 deep"),
    row("array as row", ["a", "b"], "", "must be a JSON object, this is an array", "['a', 'b']"),
    row("string as row", "a", "", "must be a JSON object, this is a string", "'a'"),
    row("number as row", 17, "", "must be a JSON object, this is a number", "17"),
    row("null as row", None, "", "must be a JSON object, this is null", "None"),
    Case("top-level scalar", b"42\n", "json", "classification", 1, "", "must be a JSON object", "42"),
]

ENCODING = [
    row("Latin-1", b'{"text": "caf\xe9", "label": "b"}', "", "not UTF-8: byte 0xe9", "caf", fix="café"),
    row("cut UTF-8", b'{"text": "a\xe2\x82", "label": "b"}', "", "not UTF-8: byte 0xe2", "\\xe2"),
    row("NUL byte", b'{"text": "a\0b", "label": "b"}', "", "NUL byte at byte 12", "\\x00"),
    row("NUL escape", b'{"text": "a\\u0000b", "label": "b"}', "text", "NUL character", "\\x00"),
    row("lone surrogate", b'{"text": "a\\ud83d", "label": "b"}', "text", "surrogate", "\\ud83d"),
    row(
        "lone surrogate below",
        b'{"text": "a", "label": "b", "x": [{"y": "\\uDC00"}]}',
        "x[0].y",
        "surrogate",
        "\\udc00",
    ),
    Case(
        "UTF-16",
        jsonl(GOOD).decode().encode("utf-16"),
        "jsonl",
        "classification",
        1,
        "",
        "UTF-16",
        "\\xff",
        fatal=True,
    ),
    Case(
        "UTF-16LE", jsonl(GOOD).decode().encode("utf-16-le"), "jsonl", "classification", 1, "", "UTF-16LE", fatal=True
    ),
    Case("UTF-32", jsonl(GOOD).decode().encode("utf-32"), "csv", "classification", 1, "", "UTF-32", fatal=True),
    table(
        "Latin-1 in CSV",
        "text,label\na,b\ncafé,b\nc,d\n".encode("latin-1"),
        3,
        "text",
        "byte 0xe9",
        "caf",
        fix="café",
    ),
    table("NUL in CSV", b"text,label\na,b\nc,d\0\n", 3, "label", "NUL byte", "\\x00"),
    table("Latin-1 in the header", "text,étiquette\na,b\n".encode("latin-1"), 1, "", "byte 0xe9", fatal=True),
    Case(
        "UTF-8 mark, then damage",
        b"\xef\xbb\xbf" + jsonl(GOOD, b"oops"),
        "jsonl",
        "classification",
        2,
        "",
        "not valid",
    ),
    Case(
        "CRLF, then damage",
        jsonl(GOOD, b"oops").replace(b"\n", b"\r\n"),
        "jsonl",
        "classification",
        2,
        "",
        "not valid",
    ),
]

FILES = [
    Case("empty", b"", "jsonl", "classification", 1, "", "the file is empty", fatal=True),
    Case("blank", b" \n\n\t\n", "jsonl", "classification", 1, "", "the file is empty", fatal=True),
    Case("empty array", b"[ ]", "json", "classification", 1, "", "no rows", fatal=True),
    Case("header alone", b"text,label\n", "csv", "classification", 1, "", "no rows", fatal=True),
    Case("workbook", b"PK\x03\x04" + b"\1" * 50, "csv", "classification", 1, "", "Excel", fix="CSV", fatal=True),
    Case("pickle", b"\x80\x04\x95abc", "pkl", "classification", 1, "", "pickle", fatal=True),
    Case("database", b"SQLite format 3\0", "db", "classification", 1, "", "SQLite", fatal=True),
    Case("prose", b"Dear Sir or Madam\n", "txt", "classification", 1, "", "neither the name", "Dear", fatal=True),
    Case(
        "cut gzip",
        gzip.compress(jsonl(*[GOOD] * 9), 0)[:230],
        "jsonl.gz",
        "classification",
        5,
        "",
        "ends early",
        fatal=True,
    ),
    Case(
        "damaged gzip",
        gzip.compress(jsonl(GOOD))[:-8] + b"\0" * 8,
        "jsonl.gz",
        "classification",
        1,
        "",
        "damaged",
        fatal=True,
    ),
    Case(
        "cut zstd",
        zstandard.compress(jsonl(*[GOOD] * 9))[:-3],
        "jsonl.zst",
        "classification",
        1,
        "",
        "ends early",
        fatal=True,
    ),
    Case(
        "damaged zstd",
        zstandard.compress(jsonl(GOOD))[:6] + b"\xff" * 30,
        "jsonl.zst",
        "classification",
        1,
        "",
        "damaged",
        fatal=True,
    ),
    Case("cut parquet", parquet([GOOD])[:-9], "parquet", "classification", 1, "", "Parquet", "footer", fatal=True),
    Case("not parquet", b"text,label\na,b\n", "parquet", "classification", 1, "", "Parquet", fatal=True),
    Case(
        "parquet twice a name",
        two_columns_of_one_name(),
        "parquet",
        "classification",
        1,
        "text",
        "one name",
        fatal=True,
    ),
    Case(
        "parquet null label",
        parquet([GOOD, {"text": "a", "label": None}]),
        "parquet",
        "classification",
        2,
        "label",
        "null",
    ),
    Case(
        "parquet NaN",
        parquet([{"text": "a", "label": float("nan")}]),
        "parquet",
        "classification",
        1,
        "label",
        "label must",
    ),
    Case(
        "parquet bytes",
        parquet([{"text": b"a", "label": "b"}]),
        "parquet",
        "classification",
        1,
        "text",
        "bytes",
        "b'a'",
    ),
    row("huge line", b'{"text": "' + b"a" * MAX_ROW_BYTES + b'", "label": "b"}', "", "16,777,2", "aaa", fix="split"),
]

ARRAYS = [
    Case(
        "bad element",
        b"[\n" + G + b",\n{oops},\n" + G + b"]",
        "json",
        "classification",
        3,
        "",
        "not valid JSON",
        "oops",
    ),
    Case("cut array", b"[\n" + G + b",\n" + G, "json", "classification", 3, "", "ends inside the array", fatal=True),
    Case(
        "cut row",
        b"[\n" + G + b',\n{"text": "a',
        "json",
        "classification",
        3,
        "",
        "row that starts on line 3",
        fatal=True,
    ),
    Case("comma at the end", b"[\n" + G + b",\n]", "json", "classification", 2, "", "comma without a row", ","),
    Case("two commas", b"[" + G + b",\n,\n" + G + b"]", "json", "classification", 2, "", "comma without a row", ","),
    Case("no comma", b"[" + G + b"\n" + G + b"]", "json", "classification", 2, "", "no comma between", "text"),
    Case(
        "text after it", b"[" + G + b"]\n" + G, "json", "classification", 2, "", "after the end", "text", fatal=True
    ),
    Case("scalar in array", b"[" + G + b",\n17]", "json", "classification", 2, "", "must be a JSON object", "17"),
    Case(
        "quote not closed",
        b"[\n" + G + b',\n{"text": "a, "label": 1},\n' + G + b"]",
        "json",
        "classification",
        3,
        "",
        "not",
    ),
    Case(
        "error inside a printed row",
        b'[\n  {\n    "text": "a",\n    "label": b\n  },\n' + G + b"]",
        "json",
        "classification",
        4,
        "",
        "not valid JSON",
    ),
    Case(
        "huge element", b'["' + b"a" * MAX_ROW_BYTES + b'",' + G + b"]", "json", "classification", 1, "", "16,777,2"
    ),
    Case(
        "huge row",
        b'[{"text": [' + (b'"' + b"a" * 997 + b'",') * 17_000 + b"0]}," + G + b"]",
        "json",
        "classification",
        1,
        "",
        "17,000,",
    ),
    Case(
        "rows wrapped",
        json.dumps({"data": [GOOD] * 3}).encode(),
        "json",
        "classification",
        1,
        "data",
        "holds the rows",
        fatal=True,
        fix="jq -c",
    ),
]

TABLES = [
    table(
        "too many fields",
        "text,label\na,b\nc,d,e\n",
        3,
        "",
        "the row has 3 fields, the header has 2",
        "'e'",
        fix="quotes",
    ),
    table("too few fields", "text,label\na\nc,d\n", 2, "label", "the row has 1 field, the header has 2", "'a'"),
    table("header twice", "text,label,text\na,b,c\n", 1, "text", "twice", "text", fatal=True),
    table("column without a name", "text,,label\na,b,c\n", 1, "column 2", "without a name", "label", fatal=True),
    table("no header", "a,b\nc,d\n", 2, "", "no column with the input", "'a', 'b'", fatal=True),
    table("quote not closed in CSV", 'text,label\na,b\n"c,d\ne,f\n', 3, "", "not closed", fatal=True),
    table("text behind a quote", 'text,label\n"a"b,c\nd,e\n', 2, "", "cannot be split", fix='""'),
    table("empty label", "text,label\na,b\nc,\n", 3, "label", "unlabelled", "''"),
    table("after a field of three lines", 'text,label\n"a\nb\nc",d\ne,\n', 5, "label", "unlabelled", "''"),
    table("TSV too many", "text\tlabel\na\tb\nc\td\te\n", 3, "", "3 fields", extension="tsv", fix="tab"),
    Case(
        "JSON in a cell",
        b'text,target\na,"{""b"": }"\n',
        "csv",
        "extraction",
        2,
        "target",
        "not valid JSON",
        '"b": }',
    ),
    table("weight not a number", "text,label,w\na,b,much\n", 2, "w", "weight must", "much", options={"weight": "w"}),
    table("weight below zero", "text,label,w\na,b,-1\n", 2, "w", "weight must", "-1", options={"weight": "w"}),
]

LABELS = [
    row("unlabelled", {"text": "a"}, "label", "unlabelled", fix="remove the row"),
    row("null label", {"text": "a", "label": None}, "label", "unlabelled", "None"),
    row("blank label", {"text": "a", "label": "  "}, "label", "unlabelled", "'  '"),
    row("list of labels", {"text": "a", "label": ["x", "y"]}, "label", "one string, this is an array", "['x', 'y']"),
    row("fraction as label", {"text": "a", "label": 0.5}, "label", "must be a string, this is a number", "0.5"),
    row("object as label", {"text": "a", "label": {"x": 1}}, "label", "this is an object", "{'x': 1}"),
    row("no text", {"label": "a"}, "text", "no such field", "label"),
    row("null text", {"text": None, "label": "a"}, "text", "no text", "None"),
    row("number as text", {"text": 5, "label": "a"}, "text", "must be a string, this is a number", "5"),
    row(
        "unknown label",
        {"text": "a", "label": "crad"},
        "label",
        "not one of the task's labels",
        "crad",
        fix="'card'",
        options=CARDS,
    ),
    row(
        "label in capitals",
        {"text": "a", "label": "CARD"},
        "label",
        "not one of",
        "CARD",
        fix="'card'",
        options=CARDS,
    ),
    row("mixed shapes", {"messages": [USER, REPLY]}, "", "mixed shapes: this row is messages", "messages"),
    row(
        "misspelt column",
        GOOD,
        "lable",
        "no column 'lable'",
        "label",
        fix="'label'",
        line=1,
        options={"target": "lable"},
        fatal=True,
    ),
    row(
        "misspelt text",
        GOOD,
        "txt",
        "no column 'txt'",
        "text",
        fix="'text'",
        line=1,
        options={"text": "txt"},
        fatal=True,
    ),
    row(
        "wrong format", GOOD, "messages", "needs a column", "text", line=1, options={"format": "messages"}, fatal=True
    ),
    row("no group", {**GOOD, "group": None}, "g", "no group", line=1, options={"group": "g"}),
    Case(
        "group is a list",
        jsonl({**GOOD, "g": [1]}),
        "jsonl",
        "classification",
        1,
        "g",
        "a group must",
        "[1]",
        options={"group": "g"},
    ),
    Case(
        "no shape",
        jsonl({"a": 1}, {"a": 2}),
        "jsonl",
        "generation",
        1,
        "",
        "none of the known shapes",
        "'a'",
        fatal=True,
    ),
    Case(
        "nothing labelled",
        jsonl({"text": "a"}),
        "jsonl",
        "classification",
        1,
        "label",
        "unlabelled",
        "text",
        fatal=True,
    ),
    Case(
        "preferences",
        jsonl({"prompt": "a", "chosen": "b", "rejected": "c"}),
        "jsonl",
        "generation",
        1,
        "",
        "preferences",
        "rejected",
        fatal=True,
    ),
    Case(
        "unpaired preferences",
        jsonl({"prompt": "a", "completion": "b", "label": False}),
        "jsonl",
        "generation",
        1,
        "",
        "preferences",
        "completion",
        fatal=True,
    ),
]

TARGETS = [
    extract("target is text", "nine", "target", "not valid JSON", "nine"),
    extract("target is a list", [1], "target", "must be a JSON object, this is an array", "[1]"),
    extract("target has a key twice", '{"a": 1, "a": 2}', "target.a", "twice", "2"),
    extract("field missing", {"currency": "EUR"}, "target", "'total' missing", "EUR", options={"schema": SCHEMA}),
    extract("wrong type", {"total": 9}, "target.total", "type must be string", "9", options={"schema": SCHEMA}),
    extract(
        "not in the enum",
        {"total": "9", "currency": "EURO"},
        "target.currency",
        "enum",
        "EURO",
        fix="'EUR'",
        options={"schema": SCHEMA},
    ),
    extract(
        "field not known",
        {"total": "9", "tip": "1"},
        "target",
        "'tip' not expected",
        "tip",
        options={"schema": SCHEMA},
    ),
    Case(
        "answer is a list",
        jsonl({"question": "a", "answer": ["b", "c"]}),
        "jsonl",
        "generation",
        1,
        "answer",
        "must be text",
        "['b', 'c']",
    ),
    Case(
        "empty text", jsonl({"question": "a", "answer": ""}), "jsonl", "generation", 1, "answer", "unlabelled", "''"
    ),
    Case(
        "alpaca output",
        jsonl({"instruction": "a", "output": 1.5}),
        "jsonl",
        "generation",
        1,
        "output",
        "must be text",
        "1.5",
    ),
    Case(
        "alpaca history",
        jsonl({"instruction": "a", "output": "b", "history": [["q"]]}),
        "jsonl",
        "generation",
        1,
        "history[0]",
        "pair",
        "['q']",
    ),
    Case(
        "completion missing",
        jsonl({"prompt": "a", "completion": None}),
        "jsonl",
        "generation",
        1,
        "completion",
        "null",
    ),
]

MESSAGES = [
    chat("messages is text", {"messages": "hello"}, "messages", "not valid JSON", "hello"),
    chat("messages is an object", {"messages": USER}, "messages", "must be a list", "hello"),
    chat("no messages", [], "messages", "empty"),
    chat("message is text", ["hello", REPLY], "messages[0]", "must be an object, this is a string", "'hello'"),
    chat("wrong role", [{**USER, "role": "human"}, REPLY], "messages[0].role", "unknown role", "human", fix="'user'"),
    chat(
        "misspelt role",
        [USER, {**REPLY, "role": "asistant"}],
        "messages[1].role",
        "unknown role",
        "asistant",
        fix="'assistant'",
    ),
    chat("no role", [{"content": "a"}, REPLY], "messages[0].role", "has no role"),
    chat("role is a number", [{**USER, "role": 1}, REPLY], "messages[0].role", "unknown role", "1"),
    chat("ShareGPT keys", [{"from": "human", "value": "a"}, REPLY], "messages[0].from", "no such key", "human"),
    chat("no content", [{"role": "user"}, REPLY], "messages[0].content", "no content"),
    chat("null content", [{**USER, "content": None}, REPLY], "messages[0].content", "no content", "None"),
    chat("content is a number", [{**USER, "content": 5}, REPLY], "messages[0].content", "must be a string", "5"),
    chat(
        "picture",
        [{**USER, "content": [{"type": "image_url", "image_url": {}}]}, REPLY],
        "messages[0].content[0].type",
        "type 'text'",
        "image_url",
    ),
    chat(
        "part without text",
        [{**USER, "content": [{"type": "text"}]}, REPLY],
        "messages[0].content[0].text",
        "string 'text'",
    ),
    chat("unknown key", [{**USER, "mood": "good"}, REPLY], "messages[0].mood", "no such key", "good"),
    chat(
        "reasoning twice", [USER, {**REPLY, "reasoning": "a", "thinking": "b"}], "messages[1].reasoning", "twice", "a"
    ),
    chat(
        "reasoning of a user",
        [{**USER, "reasoning_content": "a"}, REPLY],
        "messages[0].reasoning_content",
        "a user turn has no reasoning",
        "a",
    ),
    chat("reasoning in parts", [USER, {**REPLY, "reasoning": ["a"]}], "messages[1].reasoning", "must be text", "a"),
    chat(
        "a thought and reasoning",
        [USER, {**REPLY, "content": "<think>a</think>b", "reasoning": "c"}],
        "messages[1].reasoning",
        "a thought in the content",
        "c",
    ),
    chat(
        "a label with a thought",
        [USER, {**REPLY, "reasoning": "a"}],
        "messages[1].content",
        "begins with a thought",
        kind="classification",
    ),
    chat("weight on a user", [{**USER, "weight": 1}, REPLY], "messages[0].weight", "cannot have a weight", "1"),
    chat("weight of a half", [USER, {**REPLY, "weight": 0.5}], "messages[1].weight", "0 or 1", "0.5"),
    chat("weight true", [USER, {**REPLY, "weight": True}], "messages[1].weight", "0 or 1", "True"),
    chat("nothing weighted", [USER, {**REPLY, "weight": 0}], "messages[1].weight", "weight 0", "0"),
    chat("ends with the user", [USER, REPLY, USER], "messages[2]", "unlabelled", "hello"),
    chat("only an answer", [REPLY], "messages", "no input"),
    chat("only a system turn", [{"role": "system", "content": "s"}, REPLY], "messages", "no user turn", "'s'"),
    chat("two answers", [USER, REPLY, REPLY], "messages[1]", "two assistant turns", "hi"),
    chat("reply to no call", [{"role": "tool", "content": "5"}, REPLY], "messages[0]", "answers no call", "5"),
    chat("name is a number", [{**USER, "name": 7}, REPLY], "messages[0].name", "must be a string", "7"),
    chat("empty answer", [USER, {**REPLY, "content": ""}], "messages[1].content", "unlabelled", "''"),
    Case(
        "unknown sender",
        jsonl({"conversations": [{"from": "alien", "value": "a"}, {"from": "gpt", "value": "b"}]}),
        "jsonl",
        "generation",
        1,
        "conversations[0].from",
        "unknown sender",
        "alien",
    ),
    Case(
        "turn without value",
        jsonl({"conversations": [{"from": "human"}, {"from": "gpt", "value": "b"}], "system": "s"}),
        "jsonl",
        "generation",
        1,
        "conversations[0].value",
        "no value",
    ),
]

CALLS = [
    chat(
        "no call",
        {"messages": [USER, REPLY], "tools": [TOOL]},
        "messages[1].content",
        "calls no tool",
        "hi",
        kind="tool_calling",
    ),
    chat(
        "unknown tool",
        call({}, "wether"),
        "messages[1].tool_calls[0].name",
        "no tool of this name",
        "wether",
        kind="tool_calling",
        fix="'weather'",
    ),
    chat(
        "arguments not JSON",
        call("{city: Paris}"),
        "messages[1].tool_calls[0].function.arguments",
        "not valid JSON",
        "city",
        kind="tool_calling",
    ),
    chat(
        "arguments are a list",
        call([1]),
        "messages[1].tool_calls[0].function.arguments",
        "must be an object",
        "[1]",
        kind="tool_calling",
    ),
    chat("argument missing", call({}), "messages[1].tool_calls[0].arguments", "'city' missing", kind="tool_calling"),
    chat(
        "argument of a wrong type",
        call({"city": 5}),
        "messages[1].tool_calls[0].arguments.city",
        "type must be string",
        "5",
        kind="tool_calling",
    ),
    chat("no tools", call({"city": "Paris"}, tools=()), "tools", "lists none", kind="tool_calling"),
    chat(
        "tools are text", {**call({}), "tools": "weather"}, "tools", "not valid JSON", "weather", kind="tool_calling"
    ),
    chat(
        "tool without a name",
        call({}, tools=[{"type": "function", "function": {}}]),
        "tools[0].function.name",
        "no name",
        kind="tool_calling",
    ),
    chat(
        "tool twice",
        call({}, tools=[TOOL, TOOL]),
        "tools[1].function.name",
        "one name",
        "weather",
        kind="tool_calling",
    ),
    chat(
        "unknown type",
        call({}, tools=[{"name": "weather", "parameters": {"type": "dicct"}}]),
        "tools[0].parameters.type",
        "not a valid JSON Schema",
        "dicct",
        kind="tool_calling",
        fix="object, array",
    ),
    chat("calls in a generation row", call({"city": "Paris"}), "messages[1].tool_calls", "not generation", "weather"),
    chat(
        "text beside the call",
        {"messages": [USER, {**call({"city": "a"})["messages"][1], "content": "Let me see"}], "tools": [TOOL]},
        "messages[1].content",
        "would be lost",
        "Let me see",
        kind="tool_calling",
    ),
    chat(
        "user calls",
        [{**call({})["messages"][1], "role": "user"}, REPLY],
        "messages[0].tool_calls",
        "cannot call tools",
    ),
    Case(
        "no call listed",
        jsonl({"text": "a", "target": [], "tools": [TOOL]}),
        "jsonl",
        "tool_calling",
        1,
        "target",
        "the list of calls is empty",
        "[]",
    ),
    Case(
        "schema refers outside",
        jsonl(
            {
                "text": "a",
                "target": [{"name": "f", "arguments": {"x": 1}}],
                "tools": [{"name": "f", "parameters": {"properties": {"x": {"$ref": "http://127.0.0.1:9/x"}}}}],
            }
        ),
        "jsonl",
        "tool_calling",
        1,
        "target[0].arguments",
        "not in it",
        fix="$defs",
    ),
]

PAIR = {"prompt": "hello", "chosen": "hi", "rejected": "go away"}
ONE = {"prompt": "hello", "completion": "hi", "label": True}
WHOLE = {"chosen": [USER, REPLY], "rejected": [USER, {"role": "assistant", "content": "go away"}]}
OPENAI = {
    "input": {"messages": [USER]},
    "preferred_output": [REPLY],
    "non_preferred_output": [REPLY | {"content": "x"}],
}


def judged(
    name: str, change: dict[str, Any], field: str, what: str, got: str = "", good: dict[str, Any] = PAIR, **more: Any
) -> Case:
    """A bad preference row between good ones: `good` with some fields changed (to None: left out)."""
    bad = {key: value for key, value in (good | change).items() if value is not ...}
    return Case(name, jsonl(good, bad, good), "jsonl", "preference", 2, field, what, got, **more)


PREFERENCES = [
    judged("no rejected answer", {"rejected": ...}, "rejected", "the field is missing"),
    judged("null rejected answer", {"rejected": None}, "rejected", "the field is null", fix='""'),
    judged("no chosen answer", {"chosen": ...}, "chosen", "missing"),
    judged("a number with a point", {"chosen": 1.5}, "chosen", "an answer must be text, this is a number", "1.5"),
    judged("an object as an answer", {"chosen": {"text": "hi"}}, "chosen[0].text", "no such key"),
    judged("two turns as an answer", {"chosen": [REPLY, REPLY]}, "chosen", "one assistant turn, these are 2"),
    judged("no turns as an answer", {"chosen": []}, "chosen", "the list of messages is empty"),
    judged("an answer that calls", {"chosen": call({"city": "x"})["messages"][1:]}, "chosen", "call tools", "weat"),
    judged("an answer of numbers", {"chosen": [{"role": "assistant", "content": 3}]}, "chosen[0].content", "text"),
    judged("no prompt", {"prompt": ...}, "", "mixed shapes: this row is pairs of conversations", "chosen"),
    judged("a prompt that ends in an answer", {"prompt": [USER, REPLY]}, "prompt[1]", "two assistant turns"),
    judged("a prompt of no text", {"prompt": 3}, "prompt", "text must be a string"),
    judged("tools", {"tools": [TOOL]}, "tools", "rows with tools are not read"),
    judged("another prompt than its conversations", {"prompt": "bye", **WHOLE}, "prompt", "do not hold", "bye"),
    judged("one whole, one not", {"chosen": [USER, REPLY]}, "rejected", "not a whole conversation either", "go away"),
    judged("conversations that part early", {"rejected": [USER | {"content": "hey"}, REPLY]}, "chosen",
           "part at turn 1", "hello", good=WHOLE),
    judged("a conversation without an answer", {"chosen": [USER]}, "chosen", "ends in the user's turn", good=WHOLE),
    judged("conversations without a prompt", {"chosen": [REPLY], "rejected": [REPLY]}, "chosen", "no prompt",
           good=WHOLE),
    judged("a text among conversations", {"chosen": "hi there"}, "chosen", "no prompt", "hi there", good=WHOLE),
    judged("input without messages", {"input": {"text": "x"}}, "input", "an object with messages", good=OPENAI),
    judged("input with tools", {"input": {"messages": [USER], "tools": [TOOL]}}, "input.tools", "not read",
           good=OPENAI),
    judged("input with more", {"input": {"messages": [USER], "mesages": 1}}, "input.mesages", "no such key",
           fix="messages", good=OPENAI),
    judged("no other output", {"non_preferred_output": ...}, "non_preferred_output", "missing", good=OPENAI),
    judged("a user's output", {"preferred_output": [USER]}, "preferred_output", "this is the user's", good=OPENAI),
    judged("no label", {"label": ...}, "label", "does not say whether", good=ONE),
    judged("null label", {"label": None}, "label", "does not say whether", good=ONE),
    judged("a label of numbers", {"label": 1}, "label", "is true or false", "1", good=ONE),
    judged("a label of words", {"label": "good"}, "label", "is true or false", "good", good=ONE),
    judged("no completion", {"completion": ...}, "completion", "missing", good=ONE),
    judged("a judged conversation without an answer", {"messages": [USER]}, "messages[0]", "ends in the user's turn",
           good={"messages": [USER, REPLY], "label": False}),
    judged("another shape", {**ONE, "chosen": ..., "rejected": ...}, "", "mixed shapes", "completion"),
    Case("no preferences at all", jsonl(GOOD, GOOD), "jsonl", "preference", 1, "", "the rows are no preferences",
         fix="chosen and rejected", fatal=True),
    Case("half of a pair", jsonl({"prompt": "x", "chosen": "y"}), "jsonl", "preference", 1, "rejected",
         "the rows have no rejected answer", fatal=True),
    Case("a misspelt column", jsonl({"prompt": "x", "chosen": "y", "rejcted": "z"}), "jsonl", "preference", 1,
         "rejected", "no rejected answer", fix="Did you mean 'rejcted'?", fatal=True),
]  # fmt: skip

CASES = [*JSON_SYNTAX, *ENCODING, *FILES, *ARRAYS, *TABLES, *LABELS, *TARGETS, *MESSAGES, *CALLS, *PREFERENCES]
