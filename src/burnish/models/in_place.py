"""Texts to tokens as they stand in place: behind another text, not at the beginning of one."""

from __future__ import annotations

from typing import Any


class InPlace:
    """A tokenizer for the parts of a text.

    Some tokenizers made with SentencePiece (Llama 2, Mistral 7B, Phi-3) put a space in front of what they are given.
    A part that is tokenised by itself then begins with a space that is not in the text: behind a prompt "{" would
    become another token than the one that the model writes there.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._adds_prefix = self.alone("\nx") != [*self.alone("\n"), *self.alone("x")]

    def alone(self, text: str) -> list[int]:
        """Token ids of a text by itself, with no special tokens added."""
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def behind(self, before: str, text: str) -> list[int]:
        """Token ids of a text behind another, whose own tokens stay as they are.

        By itself where a token would reach across, which the model cannot write when it has read what is before.
        """
        if self._adds_prefix:
            start, whole = self.alone(before), self.alone(before + text)
            if whole[: len(start)] == start:
                return whole[len(start) :]
        return self.alone(text)

    def space_before(self, word: str, before: str, space: str) -> str:
        """The white space that the tokens of a word write in front of it, behind a text and this space."""
        if not self._adds_prefix:
            return space
        tokens = self._tokenizer.convert_ids_to_tokens(self.behind(before, space + word))
        return "".join(tokens).replace("▁", " ").replace("Ġ", " ").partition(word)[0]
