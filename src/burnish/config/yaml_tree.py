"""YAML text to plain values that remember their place, so that every mistake can name its line.

Reads the YAML that people write by hand: 1e-3 is a number (YAML 1.1 makes it text), 12:30 and 2024-05-01 stay
text (YAML 1.1 makes them a number and a date). yes and no are booleans as in YAML 1.1, because other tools read
them so; where text is wanted, words.py says to quote them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from burnish.errors import ConfigError, Problem, shorten

Key = tuple[str | int, ...]

_MAX_NODES = 200_000  # aliases can make a small file expand without end


class Place(NamedTuple):
    """Where a value stands: file, 1-based line (0: no line), and for a scalar its text as written."""

    file: str
    line: int
    text: str | None


@dataclass(slots=True)
class Tree:
    """Plain values with the place of each, and the mistakes found while reading."""

    values: dict[str, Any]
    places: dict[Key, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def dotted(key: Key) -> str:
    """("labels", 1) -> "labels[1]"; ("training", "lora_r") -> "training.lora_r"."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalar rules above; only its composer is used."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF)$", list("tTfFyYnNoO")),
    ("int", r"^[-+]?(?:0|[1-9][0-9_]*)$", list("-+0123456789")),
    ("float", r"^[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9_]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
    ("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", list("-+.")),
    ("merge", r"^(?:<<)$", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def read_yaml(text: str, file: str) -> Tree:
    """Read one YAML mapping. Raises ConfigError when there is no tree to go on with (syntax, not a mapping)."""
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.YAMLError as error:
        raise ConfigError("", problems=[_syntax_problem(error, text, file)]) from None
    except RecursionError:
        raise _fatal(file, 1, "values are nested too deeply to read", "", "flatten the file") from None
    if root is None or (isinstance(root, yaml.ScalarNode) and root.tag.endswith(":null")):
        raise _fatal(
            file, 1, "the file is empty", "", "run `burnish init DIR --kind classification` for one to start from"
        )
    if not isinstance(root, yaml.MappingNode):
        got = shorten(root.value) if isinstance(root, yaml.ScalarNode) else "a list"
        raise _fatal(
            file, root.start_mark.line + 1, "a task file is a mapping", got, "write lines such as `name: my-task`"
        )
    tree = Tree({}, {(): Place(file, root.start_mark.line + 1, None)})
    tree.values = _Walk(tree, file).mapping(root, ())
    return tree


def read_scalar(text: str) -> Any:
    """One value as YAML would read it: "1e-3" -> 0.001, "[a, b]" -> a list; text that is no YAML stays text."""
    try:
        node = _Loader(text).get_single_node()
    except yaml.YAMLError:
        return text
    return text if node is None else _Walk(Tree({}), "").value(node, ())


class _Walk:
    """Turns nodes into values; keeps the places and the problems in `tree`."""

    def __init__(self, tree: Tree, file: str) -> None:
        self.tree = tree
        self.file = file
        self.nodes = 0
        self.open: set[int] = set()  # containers being read, to find an alias that holds itself

    def value(self, node: yaml.Node, key: Key, line: int | None = None) -> Any:
        line = node.start_mark.line + 1 if line is None else line
        self.nodes += 1
        if self.nodes > _MAX_NODES:
            raise _fatal(self.file, line, "the aliases (*name) expand to too many values", "", "write the values out")
        text = node.value if isinstance(node, yaml.ScalarNode) else None
        self.tree.places[key] = Place(self.file, line, text)
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, key, line)
        if id(node) in self.open:
            raise _fatal(self.file, line, "an alias (*name) holds itself", dotted(key), "remove the alias")
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, key)
            if not node.tag.endswith(":seq"):
                self.problem(line, key, "YAML tags are not supported", node.tag, "remove the tag")
            return [self.value(item, (*key, index)) for index, item in enumerate(node.value)]
        finally:
            self.open.discard(id(node))

    def mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        values: dict[str, Any] = {}
        first: dict[str, int] = {}
        merged: list[tuple[yaml.Node, int]] = []
        if not node.tag.endswith(":map"):
            self.problem(node.start_mark.line + 1, key, "YAML tags are not supported", node.tag, "remove the tag")
        for name_node, value_node in node.value:
            line = name_node.start_mark.line + 1
            if name_node.tag.endswith(":merge"):
                merged.append((value_node, line))
                continue
            if not isinstance(name_node, yaml.ScalarNode):
                self.problem(line, key, "a key must be text", "a list or a mapping", "write `key: value`")
                continue
            name = name_node.value
            if name in values:
                fix = f"it is given on line {first[name]} already: keep one"
                self.problem(line, (*key, name), "the key appears twice", "", fix)
                continue
            first[name] = line
            values[name] = self.value(value_node, (*key, name), line)
        for value_node, line in merged:
            sources = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            for source in sources:
                if not isinstance(source, yaml.MappingNode):
                    self.problem(line, key, "<< merges a mapping", "", "point it to a mapping (<<: *name)")
                    continue
                for name, value in self.value(source, (*key, "<<")).items():
                    if name not in values:
                        values[name] = value
                        self.tree.places[(*key, name)] = Place(self.file, line, None)
        return values

    def scalar(self, node: yaml.ScalarNode, key: Key, line: int) -> Any:
        kind = node.tag.rpartition(":")[2]
        text: str = node.value
        if kind == "null" and text.lower() in ("", "~", "null"):
            return None
        if kind == "bool" and text.lower() in ("true", "yes", "on", "false", "no", "off"):
            return text.lower() in ("true", "yes", "on")
        try:
            if kind == "int":
                return int(text.replace("_", ""))
            if kind == "float":
                return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan").lower())
        except ValueError:
            return text  # words.py says what the setting wants
        if kind not in ("str", "value", "merge"):
            self.problem(line, key, "YAML tags are not supported", node.tag, "remove the tag")
        return text

    def problem(self, line: int, key: Key, what: str, got: str, fix: str) -> None:
        self.tree.problems.append(Problem(self.file, line, dotted(key), what, got, fix))


def _fatal(file: str, line: int, what: str, got: str, fix: str) -> ConfigError:
    return ConfigError("", problems=[Problem(file, line, "", what, got, fix)])


# What the scanner says, what it means, and the fix. The first fragment found in the message wins.
_SYNTAX = (
    (r"cannot start any token", "\t", "a tab cannot indent YAML", "indent with spaces"),
    (r"cannot start any token", "%@`", "a value cannot begin with this character", "put the value in quotes"),
    (r"mapping values are not allowed", "", "a second colon on the line, or wrong indentation",
     "put a text that holds `: ` in quotes, and check the indentation"),
    (r"could not find expected ':'", "", "a key without a colon", "write `key: value`"),
    (r"unexpected end of stream", "", "a quote is opened and never closed", "close the quote"),
    (r"expected ',' or ']'", "", "a list [ … is not closed, or a comma is missing", "close it with ]"),
    (r"expected ',' or '}'", "", "a mapping { … is not closed, or a comma is missing", "close it with }"),
    (r"expected <block end>", "", "the indentation does not fit", "align the line with those around it"),
    (r"found undefined alias", "", "* begins an alias that is not defined", "put the value in quotes"),
    (r"unknown escape character", "", "a backslash in double quotes begins an escape",
     "use single quotes: 'a\\b'"),
    (r"found another document", "", "--- begins a second document", "keep one task in a file"),
    (r"found duplicate anchor", "", "an anchor (&name) is defined twice", "rename one"),
)  # fmt: skip


def _syntax_problem(error: yaml.YAMLError, text: str, file: str) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        got = f"U+{ord(error.character):04X}" if isinstance(error.character, str) else f"U+{error.character:04X}"
        return Problem(file, line, "", "a control character is in the file", got, "delete the character")
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(file, 1, "", f"not valid YAML: {error}", "", "compare the file with one from `burnish init`")
    said, context = error.problem or "", error.context or ""
    mark = error.problem_mark or error.context_mark
    if error.context_mark is not None and context.startswith(("while scanning a quoted", "while parsing a flow")):
        mark = error.context_mark  # where it was opened tells more than where the file ended
    line = mark.line + 1 if mark else 1
    lines = text.splitlines()
    got = shorten(lines[line - 1].rstrip("\n")) if 0 < line <= len(lines) else ""
    at = text[mark.index : mark.index + 1] if mark else ""
    for fragment, characters, what, fix in _SYNTAX:
        if fragment in said and (not characters or (at and at in characters)):
            return Problem(file, line, "", f"not valid YAML: {what}", got, fix)
    return Problem(file, line, "", f"not valid YAML: {said}", got, "compare the line with those around it")
