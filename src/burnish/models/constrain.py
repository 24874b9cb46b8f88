"""What an answer may be, token by token: one of some labels, or JSON of a schema."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from burnish.errors import ConfigError, first_line
from burnish.models.chat import Chat
from burnish.records import Constraint, JsonSchema, Labels

Allowed = NDArray[np.int32]  # bit mask over the vocabulary, 32 tokens a word


class Matcher(Protocol):
    """Follows one answer as it grows."""

    def allowed(self) -> Sequence[int] | Allowed:
        """Token ids, or a bit mask, of what may come next."""

    def accept(self, token: int) -> None:
        """The next token was chosen."""

    def forced(self) -> list[int]:
        """Tokens that must come next, so that no choice is needed (may be empty)."""

    def finished(self) -> bool:
        """The answer is complete: nothing but the end of turn may follow."""


class _Node:
    __slots__ = ("children", "ends")

    def __init__(self) -> None:
        self.children: dict[int, _Node] = {}
        self.ends = False


class LabelMatcher:
    """Walks the prefix tree of the labels' tokens. An end of turn competes where one label starts another."""

    def __init__(self, root: _Node, stop_id: int) -> None:
        self._node = root
        self._stop = stop_id
        self._done = False

    def allowed(self) -> list[int]:
        tokens = list(self._node.children)
        return [*tokens, self._stop] if self._node.ends else tokens

    def accept(self, token: int) -> None:
        if token == self._stop:
            self._done = True
        else:
            self._node = self._node.children[token]

    def forced(self) -> list[int]:
        tokens: list[int] = []
        node = self._node
        while len(node.children) == 1 and not node.ends:
            token, node = next(iter(node.children.items()))
            tokens.append(token)
        return tokens

    def finished(self) -> bool:
        return self._done or (self._node.ends and not self._node.children)


class JsonMatcher:
    """llguidance over one answer; compact JSON, properties in the schema's order.

    What the schema forces is split into tokens as the tokenizer splits it, up to where a token may reach into text
    that is still open: there the model chooses, as it would have anyway.
    """

    def __init__(self, matcher: Any, words: int, stop_id: int) -> None:
        self._matcher = matcher
        self._words = words
        self._stop = stop_id

    def allowed(self) -> Allowed:
        mask = np.zeros(self._words, dtype=np.int32)
        self._matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        return mask

    def accept(self, token: int) -> None:
        self._matcher.consume_token(token)

    def forced(self) -> list[int]:
        if self.finished():
            return []
        return [*itertools.takewhile(lambda token: token != self._stop, self._matcher.compute_ff_tokens())]

    def finished(self) -> bool:
        return bool(self._matcher.is_stopped())


class Constrainer:
    """Makes matchers for one chat template's answers; grammars and label trees are built once each."""

    def __init__(self, chat: Chat, vocabulary: int) -> None:
        self._chat = chat
        self._stop = chat.end_of_turn
        self._words = (vocabulary + 31) // 32
        self._guide: Any = None
        self._trees: dict[Labels, _Node] = {}
        self._grammars: dict[str, Any] = {}

    def matcher(self, constraint: Constraint) -> Matcher:
        """A fresh matcher. Raises ConfigError when the schema cannot be turned into a grammar."""
        if isinstance(constraint, Labels):
            if constraint not in self._trees:
                self._trees[constraint] = self._tree(constraint)
            return LabelMatcher(self._trees[constraint], self._stop)
        key = json.dumps(constraint.schema)
        if key not in self._grammars:
            self._grammars[key] = self._grammar(constraint)
        return JsonMatcher(self._grammars[key].deep_copy(), self._words, self._stop)

    def _tree(self, constraint: Labels) -> _Node:
        root = _Node()
        for label in constraint.labels:
            node = root
            for token in self._chat.answer(label):
                node = node.children.setdefault(token, _Node())
            node.ends = True
        return root

    def _grammar(self, constraint: JsonSchema) -> Any:
        from llguidance import LLMatcher
        from llguidance.hf import from_tokenizer

        if self._guide is None:
            self._guide = from_tokenizer(self._chat.tokenizer, n_vocab=self._words * 32, eos_token=self._stop)
        options = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
        schema = json.dumps({**constraint.schema, "x-guidance": options})
        around = (json.dumps(text) if text else "" for text in (self._chat.begins, self._chat.ends))
        try:
            grammar = LLMatcher.grammar_from_lark("start: {} json {}\njson: %json {}".format(*around, schema))
            matcher = LLMatcher(self._guide, grammar)
        except ValueError as error:
            raise _unusable(str(error)) from error
        if matcher.is_error():
            raise _unusable(matcher.get_error())
        return matcher


def _unusable(reason: str) -> ConfigError:
    return ConfigError(
        f"the schema cannot constrain generation: {first_line(reason) or 'unknown reason'}",
        where="schema",
        fix="simplify that part of the schema, or set generation.constrain: false",
    )


def bits_to_bool(mask: Allowed, vocabulary: int) -> NDArray[np.bool_]:
    """A bit mask as booleans [vocabulary]."""
    bits = np.unpackbits(mask.view(np.uint8), bitorder="little")
    return bits[:vocabulary].astype(np.bool_)
