"""Rows to measure advice on: taken from the training part, so that the sealed test stays sealed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from burnish.config import TaskConfig
from burnish.data.fingerprint import input_key
from burnish.data.split import split_examples
from burnish.errors import DataError
from burnish.prepare import Prepared
from burnish.records import Example
from burnish.tasks import Task

SHARE = 0.2  # of the training part, at most
LEAST = 10  # examples; fewer tell nothing


def hold_out(prepared: Prepared, config: TaskConfig, examples: int) -> Prepared:
    """The same task with another test part: at most `examples` rows of the training part, and at most SHARE of it.

    Units stay whole and labels in proportion, as in every split. The sealed test is let go of, so that nothing after
    this can read it; validation stays what it is, for choices that systems make.
    Raises DataError where too few rows would be left on either side.
    """
    train = prepared.split.train
    size = min(examples, round(SHARE * len(train)))
    if size < LEAST:
        raise DataError(
            f"advice is measured on a fifth of the training rows, at least {LEAST}",
            got=f"{len(train)} training rows",
            fix=f"label {5 * LEAST} rows or more besides validation and test",
        )
    cut = split_examples(
        train,
        validation=0,
        test=size,
        seed=config.seed + 1,  # apart from the draws that made the sealed test
        stratum=prepared.task.stratum if config.split.stratify else None,
    )
    split = replace(prepared.split, train=cut.train, test=cut.test, sealed_hash=cut.sealed_hash)
    return prepared._replace(split=split)


def nested(prepared: Prepared, rows: int, seed: int) -> Prepared:
    """The same task with the first `rows` training rows in an order drawn by seed: larger ones hold the smaller.

    Every label comes once before any comes twice, so that a small part has as many of them as it can. Further data
    sets are left out.
    """
    ordered = _drawn(prepared.split.train, prepared.task, seed)
    kept = {id(example) for example in ordered[:rows]}
    train = tuple(example for example in prepared.split.train if id(example) in kept)
    return prepared._replace(split=replace(prepared.split, train=train), extras=())


def _drawn(examples: Sequence[Example], task: Task, seed: int) -> list[Example]:
    draws = {key: random.Random(f"{seed}:{key}").random() for key in map(input_key, examples)}
    ordered = sorted(examples, key=lambda example: (draws[input_key(example)], example.id))
    seen: set[str | None] = set()
    first: list[Example] = []
    later: list[Example] = []
    for example in ordered:
        label = task.stratum(example)
        (later if label in seen else first).append(example)
        seen.add(label)
    return first + later
