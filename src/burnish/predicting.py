"""New answers of a run's tuned model, given as it was trained to give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.config import TaskConfig
from burnish.errors import DataError
from burnish.fit import chat_of, local_system
from burnish.progress import Progress, Silent
from burnish.records import Example, Message, Prediction, Source
from burnish.retrieving import open_retriever, tuned_context
from burnish.runs import read_jsonl
from burnish.systems.rag import WithContext
from burnish.tasks import make_task
from burnish.trust import calibrated

if TYPE_CHECKING:
    from burnish.systems.base import System


def predictor(
    run_dir: Path, progress: Progress | None = None
) -> Callable[[Sequence[str | Example]], list[Prediction]]:
    """The tuned model of a run, loaded once, as a function from inputs to predictions.

    Template, prompt, tools and constraint are those stored with the adapter; confidences are calibrated with the
    temperature that the run found on its validation answers (trust.py). Raises ModelError or RunError; the
    function raises DataError for inputs without tools where every training example had its own.
    """
    from burnish.models.adapters import load_tuned, read_info
    from burnish.models.generate import Engine

    progress = progress or Silent()
    info = read_info(run_dir / "adapter")
    config = TaskConfig.model_validate(info.task)
    # Answering needs no metric, and the user's own may be out of reach here.
    unmeasured = config.model_copy(update={"goal": config.goal.model_copy(update={"metric": None})})
    task = make_task(unmeasured, info.labels, shared_tools=bool(info.tools))
    tuned = load_tuned(run_dir / "adapter", progress=progress)
    engine = Engine(tuned, chat_of(tuned, info.chat_template), tokens_per_batch=config.generation.tokens_per_batch)
    system: System = local_system("tuned", task, engine, config, full=info.prompt == "full")
    if config.training.context == "retrieved":
        searched = open_retriever(config, None, progress)
        system = WithContext("tuned", system, tuned_context(searched, task, engine.chat, config, engine.context))

    mend = calibrated(run_dir)

    def predict(inputs: Sequence[str | Example]) -> list[Prediction]:
        examples = [
            item if isinstance(item, Example) else _unlabelled(item, number) for number, item in enumerate(inputs, 1)
        ]
        if config.kind == "tool_calling":
            examples = [_with_tools(example, info.tools) for example in examples]
        return mend(system.predict(examples, progress))

    return predict


def held_out_prompts(run_dir: Path, count: int = 16) -> list[list[Message]]:
    """Conversations on inputs that were not trained on, spread over the sealed test: for replays, without targets.

    Where rows had tools of their own, which are not kept in the run folder, the input stands alone.
    """
    from burnish.models.adapters import read_info

    info = read_info(run_dir / "adapter")
    config = TaskConfig.model_validate(info.task)
    unmeasured = config.model_copy(update={"goal": config.goal.model_copy(update={"metric": None})})
    task = make_task(unmeasured, info.labels, shared_tools=bool(info.tools))
    rows = read_jsonl(run_dir / "test_examples.jsonl")
    texts = [str(row["input"]) for row in rows[:: max(1, len(rows) // count)][:count]]
    if config.kind == "tool_calling" and not info.tools:
        return [[Message("user", text)] for text in texts]
    return [
        list(task.messages(replace(_unlabelled(text, number), tools=info.tools), full=info.prompt == "full"))
        for number, text in enumerate(texts, 1)
    ]


def _unlabelled(text: str, number: int) -> Example:
    return Example(str(number), (Message("user", text),), None, Source("input", number))


def _with_tools(example: Example, shared: tuple[Mapping[str, Any], ...]) -> Example:
    """The example with the tools of training, unless it brings its own."""
    if example.tools:
        return example
    if not shared:
        raise DataError(
            "the input brings no tools, and this model was trained on rows with tools of their own",
            where=f"{example.source.file}:{example.source.line}",
            fix="give a file whose rows have a column 'tools'",
        )
    return replace(example, tools=shared)
