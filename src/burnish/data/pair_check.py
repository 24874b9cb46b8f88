"""What is odd about preference rows: equal pairs, contradictory pairs, a bias to long answers, empty answers.

9 bytes a row are kept and no row, as in check.py.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from burnish.data.duplicates import Hashes, Rows, members
from burnish.data.fingerprint import canonical, input_digest
from burnish.data.places import KEPT, Places
from burnish.records import Example, Finding, Json, Source

MUCH_LONGER = 0.6  # share of the pairs whose chosen answer is the longer one, or the shorter one
SURE = 0.001  # p-value of the sign test


class PairTally:
    """Counts over preference rows in the order in which check.py sees them."""

    def __init__(self) -> None:
        self.rows = 0
        self.pairs = 0
        self.equal = Places()
        self.empty_chosen = Places()
        self.empty_rejected = Places()
        self.longer = 0  # pairs whose chosen answer is the longer one
        self.shorter = 0
        self.desirable = 0
        self.keys = array("Q")  # hash of the prompt and both answers (or the one) without their order
        self.sides = array("B")  # 1 where the answer that sorts first is the chosen one, or the one is desirable

    def add(self, example: Example) -> None:
        target, source = example.target, example.source
        if "chosen" in target:
            chosen, rejected = target["chosen"], target["rejected"]
            self.pairs += 1
            self.longer += len(chosen) > len(rejected)
            self.shorter += len(chosen) < len(rejected)
            if chosen == rejected:
                self.equal.add(source)
            for text, places in ((chosen, self.empty_chosen), (rejected, self.empty_rejected)):
                if not text.strip():
                    places.add(source)
            answers, side = sorted((chosen, rejected)), chosen < rejected
        else:
            self.desirable += target["desirable"]
            answers, side = [target["completion"]], target["desirable"]
        digest = hashlib.sha256(input_digest(example.messages, example.tools) + canonical(answers)).digest()
        self.keys.append(int.from_bytes(digest[:8], "big"))
        # An equal pair contradicts nothing: its two answers have no order.
        self.sides.append(2 if "chosen" in target and target["chosen"] == target["rejected"] else int(side))
        self.rows += 1

    def stats(self) -> dict[str, Json]:
        """Counts for data_report.json; lengths are compared in characters."""
        made: dict[str, Json] = {}
        if self.pairs:
            equal = self.pairs - self.longer - self.shorter
            made["pairs"] = {
                "pairs": self.pairs, "chosen_longer": self.longer, "chosen_shorter": self.shorter,
                "same_length": equal,
            }  # fmt: skip
        if self.rows > self.pairs:
            made["unpaired"] = {"rows": self.rows - self.pairs, "desirable": self.desirable}
        return made

    def findings(self, sources: Callable[[Iterable[int]], tuple[Source, ...]]) -> Iterator[Finding]:
        """sources: where rows stand, given their indices."""
        if self.equal.count:
            yield Finding(
                "equal_pair",
                "warning",
                self.equal.count,
                f"{_have(self.equal.count)} the same answer as chosen and as rejected",
                "Remove them: there is nothing to learn from them, and no system can get them right.",
                tuple(self.equal.first),
            )
        rows, questions = self._contradictory()
        if questions:
            yield Finding(
                "contradictory_pair",
                "warning",
                len(rows),
                f"{'1 judgement is' if questions == 1 else f'{questions:,} judgements are'} contradicted by another "
                f"row: the same answers to the same prompt, judged the other way round ({_rows(len(rows))})",
                "Decide on one of them, for example by a majority of the annotators: no model can follow both.",
                sources(rows[:KEPT]),
            )
        yield from self._length_bias()
        yield from self._empty()

    def _contradictory(self) -> tuple[Rows, int]:
        """Rows that another one contradicts, and how many judgements that is about."""
        keys: Hashes = np.frombuffer(self.keys, dtype=np.uint64) if self.rows else np.empty(0, dtype=np.uint64)
        sides = np.frombuffer(self.sides, dtype=np.uint8) if self.rows else np.empty(0, dtype=np.uint8)
        both = np.intersect1d(keys[sides == 0], keys[sides == 1])
        return members(keys, both), len(both)

    def _length_bias(self) -> Iterator[Finding]:
        """Exact sign test of the longer answer being chosen as often as the shorter one."""
        from scipy.stats import binomtest

        different = self.longer + self.shorter
        if not different:
            return
        most, word = max((self.longer, "longer"), (self.shorter, "shorter"))
        p_value = float(binomtest(most, different).pvalue)
        if most / different < MUCH_LONGER or p_value > SURE:
            return
        p = "p < 0.001" if p_value < 0.0005 else f"p = {p_value:.3f}"
        yield Finding(
            "length_bias",
            "warning",
            most,
            f"the chosen answer is the {word} one in {most:,} of {different:,} pairs of different length "
            f"({most / different:.1%}; sign test, {p})",
            f"Look at length_controlled_win_rate beside pair_accuracy, and expect {word} answers after training: "
            "a model can learn the length instead of the quality.",
        )

    def _empty(self) -> Iterator[Finding]:
        if self.empty_chosen.count:
            yield Finding(
                "empty_field",
                "warning",
                self.empty_chosen.count,
                f"{_have(self.empty_chosen.count)} an empty chosen answer",
                "Remove them, unless saying nothing is right there: the model would learn to say nothing.",
                tuple(self.empty_chosen.first),
            )
        if self.empty_rejected.count:
            yield Finding(
                "empty_field",
                "info",
                self.empty_rejected.count,
                f"{_have(self.empty_rejected.count)} an empty rejected answer",
                "Such pairs teach little but to say something at all.",
                tuple(self.empty_rejected.first),
            )


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _have(count: int) -> str:
    return f"{_rows(count)} {'has' if count == 1 else 'have'}"
