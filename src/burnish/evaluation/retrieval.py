"""Retrieval measured apart from the answers: wrong context and wrong behaviour are told apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from burnish.evaluation import statistics
from burnish.records import Example, Json, Prediction
from burnish.runs import to_json

DEPTHS = (1, 5, 10)
RIGHT = 0.5  # of the primary metric; for rates the same as being right


def retrieval_tables(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    metric: str,
    units: NDArray[np.intp] | None = None,
    level: float = 0.95,
) -> dict[str, Json]:
    """The table `retrieval` of a system that was shown passages; nothing for systems that were not.

    examples: as asked; those that name no document are judged by whether the target stands in the passages shown
    (Karpukhin et al. 2020, section 5.1), where it is text, and left out otherwise. predictions: scored by `metric`.
    recall: of the examples that name a document, the share with a passage of it among the first 1, 5 and 10 found.
    outcomes: examples by whether the right passage was shown and whether the answer is right (at least half of the
    metric). shown: passages in the prompt, mean. units: of the examples, as evaluate.py makes them.
    """
    if not any(prediction.ranking for prediction in predictions):
        return {}
    named = [place for place, example in enumerate(examples) if example.document is not None]
    own_units = None if units is None else units[named]
    recall = {}
    for depth in DEPTHS if named else ():
        found = [examples[place].document in predictions[place].ranking[:depth] for place in named]
        recall[str(depth)] = to_json(statistics.rate(np.array(found, dtype=np.float64), level, own_units))
    outcomes = {"right": 0, "wrong_context": 0, "wrong_behaviour": 0, "right_without": 0}
    for example, prediction in zip(examples, predictions, strict=True):
        shown = was_shown(example, prediction)
        if shown is not None:
            right = prediction.score[metric] >= RIGHT
            outcomes[_outcome(shown, right)] += 1
    return {
        "retrieval": {
            "examples": sum(outcomes.values()),
            "named": len(named),
            "shown": sum(len(prediction.sources) for prediction in predictions) / len(predictions),
            "recall": recall,
            "outcomes": outcomes,
        }
    }


def was_shown(example: Example, prediction: Prediction) -> bool | None:
    """Whether the prompt held a passage with the answer; None where that is not known."""
    if example.document is not None:
        return any(source.document == example.document for source in prediction.sources)
    if not isinstance(example.target, str):
        return None
    wanted = _plain(example.target)
    return any(wanted in _plain(source.text) for source in prediction.sources)


def _outcome(shown: bool, right: bool) -> str:
    if right:
        return "right" if shown else "right_without"
    return "wrong_behaviour" if shown else "wrong_context"


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
