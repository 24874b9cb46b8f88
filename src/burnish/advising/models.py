"""Candidate models ranked for a task: how well each predicts the task's own text, and whether it fits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from burnish.advice.candidates import Candidate, Needs, Ranked, rank
from burnish.config import LoadedTask, TrainingConfig
from burnish.data.language import guess_language
from burnish.prepare import Prepared
from burnish.progress import Progress
from burnish.records import DataReport, Example
from burnish.tasks import Task
from burnish.tasks.prompts import input_text

if TYPE_CHECKING:
    from burnish.models.load import Loaded

SAMPLE = 100  # examples whose text is predicted
LONGEST = 2000  # characters of one text


def rank_models(
    loaded: LoadedTask, prepared: Prepared, report: DataReport, names: Sequence[str], progress: Progress
) -> tuple[Ranked, ...]:
    """Load each model, let it predict a sample of the training part's inputs and answers, and rank them.

    What is held against a model: a language that it was not trained on, memory that its training does not find on
    this machine, a context shorter than the longest example. Raises ModelError for a model that cannot be loaded.
    """
    from burnish.training.devices import this_machine

    texts = [text[:LONGEST] for text in _texts(prepared.split.train[:SAMPLE], prepared.task)]
    tokens = report.stats.get("tokens") or {}
    longest = tokens.get("max") if isinstance(tokens, dict) else None
    needs = Needs(
        language=_language(texts),
        memory=this_machine().memory,
        context=None if longest is None else int(longest),
    )
    found = []
    for name in names:
        progress.stage("model", f"{name} on {len(texts)} texts of the task")
        found.append(_candidate(loaded, report, name, texts, progress))
    return rank(found, needs)


def _texts(examples: Sequence[Example], task: Task) -> Iterator[str]:
    for example in examples:
        yield f"{input_text(example)}\n{task.answer(example).content}"


def _language(texts: Sequence[str]) -> str | None:
    """The language of most texts, None where it cannot be told."""
    told = [guess_language(text) for text in texts]
    known = [one for one in told if one is not None]
    if 2 * len(known) <= len(texts):
        return None
    return max(sorted(set(known)), key=known.count)


def _candidate(
    loaded: LoadedTask, report: DataReport, name: str, texts: Sequence[str], progress: Progress
) -> Candidate:
    from burnish.models.catalog import CATALOG
    from burnish.models.load import load_model
    from burnish.models.text_part import text_config

    model = load_model(name, base_dir=loaded.base_dir, progress=progress)
    known = CATALOG.get(name)
    context = getattr(text_config(model.model), "max_position_embeddings", None)
    return Candidate(
        name,
        sum(parameter.numel() for parameter in model.model.parameters()),
        languages=() if known is None else tuple(known.languages.split(", ")),
        licence=None if known is None else known.licence,
        memory=_memory(loaded.config.training, report, name, loaded.base_dir),
        bits_per_character=bits_per_character(model, texts),
        context=None if context is None else int(context),
    )


def bits_per_character(model: Loaded, texts: Sequence[str]) -> float:
    """-Σ log₂ p(token) over all texts, by their characters (Gao et al. 2020, The Pile, section 3.1).

    Each text is predicted behind the token that begins or, where there is none, ends a text.
    """
    from burnish.models.score import loglikelihoods

    tokenizer = model.tokenizer
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    requests = [([begin], tokenizer.encode(text, add_special_tokens=False)) for text in texts]
    total = -sum(loglikelihoods(model, requests)) / math.log(2)
    return total / max(1, sum(map(len, texts)))


def _memory(training: TrainingConfig, report: DataReport, name: str, base_dir: Path | None) -> int | None:
    """Bytes that training takes here by `burnish estimate`, for rows of the 99th percentile's length; None where the
    model's sizes are not known."""
    from burnish.errors import ModelError
    from burnish.training.devices import this_machine
    from burnish.training.estimate import dtype_on, estimate, setup_of
    from burnish.training.shapes import model_shape
    from burnish.training.work import uniform_work

    tokens = report.stats.get("tokens")
    length = int(tokens.get("p99") or 512) if isinstance(tokens, dict) else 512
    try:
        shape = model_shape(name, base_dir)
    except ModelError:
        return None
    device = this_machine()
    setup = replace(setup_of(training), dtype=dtype_on(device))
    work = uniform_work(
        rows=max(report.rows, 1),
        length=max(2, length),
        batch_size=training.batch_size,
        tokens_per_batch=training.tokens_per_batch,
        num_epochs=training.num_epochs,
    )
    return round(estimate(shape, setup, work, device).memory.total)
