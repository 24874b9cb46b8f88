"""New answers of a run's systems: the tuned model answers as it was trained to, a baseline as it was measured."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from burnish.choosing import PROMPTS
from burnish.config import LoadedTask, TaskConfig
from burnish.data.fingerprint import combined
from burnish.errors import DataError, RunError
from burnish.fit import chat_of, local_system
from burnish.hosting import without_default_limits
from burnish.measure import Bench
from burnish.prepare import prepare
from burnish.progress import Progress, Silent
from burnish.records import Example, Message, Prediction, Source
from burnish.runs import NotesFolder, RunFolder, lacking, predictions_path, read_jsonl
from burnish.searching import open_retriever, tuned_context
from burnish.systems.rag import WithContext
from burnish.tasks import make_task
from burnish.trust import calibrated

if TYPE_CHECKING:
    from burnish.systems.base import System

TUNED = "tuned"


class _Asked(NamedTuple):
    """tools: those that all rows of the task share. mend: what is done to the confidences."""

    system: System
    config: TaskConfig
    tools: tuple[Mapping[str, Any], ...]
    mend: Callable[[Sequence[Prediction]], list[Prediction]]


def predictor(
    run_dir: Path, progress: Progress | None = None, system: str = TUNED
) -> Callable[[Sequence[str | Example]], list[Prediction]]:
    """A system of a run, made once, as a function from inputs to predictions.

    Of the tuned model template, prompt, tools and constraint are those stored with the adapter; confidences are
    calibrated with the temperature that the run found on its validation answers (trust.py). A baseline is made anew
    from the task's data and settings, prompted in the way that the run chose; the run folder is not changed.
    Raises RunError for a system that the run does not have, or whose data have changed; ModelError, DataError and
    HostedError. The function raises DataError for inputs without tools where every row of the task had its own.
    """
    progress = progress or Silent()
    require_system(run_dir, system)
    asked = _tuned(run_dir, progress) if system == TUNED else _baseline(run_dir, system, progress)

    def predict(inputs: Sequence[str | Example]) -> list[Prediction]:
        examples = [
            item if isinstance(item, Example) else _unlabelled(item, number) for number, item in enumerate(inputs, 1)
        ]
        if asked.config.kind == "tool_calling":
            examples = [_with_tools(example, asked.tools) for example in examples]
        return asked.mend(asked.system.predict(examples, progress))

    return predict


def require_system(run_dir: Path, name: str) -> None:
    """Nothing, when the run can ask that system. RunError names those that it can ask."""
    known = _systems(run_dir)
    if name in known:
        return
    if name == TUNED:
        require_tuned(run_dir, f"; or ask {', '.join(known)} (--system)" if known else "")
    raise RunError(
        "the run has measured no such system",
        got=name,
        where=str(run_dir),
        fix=f"it can ask: {', '.join(known)} (--system)" if known else "it has measured none yet",
    )


def require_tuned(run_dir: Path, otherwise: str = "") -> None:
    """Nothing, when the run has trained its model. RunError says how far it got. otherwise: ends the fix."""
    if (run_dir / "adapter").exists():
        return
    raise lacking(run_dir, "tuned model (adapter/)", otherwise)


def _systems(run_dir: Path) -> list[str]:
    """The measured baselines, and the tuned model when there is one.

    A preference task's baselines are none of them: they choose between two given answers, and write none.
    """
    settings = RunFolder(run_dir).record()["config"]
    names = [] if settings.get("kind") == "preference" else [str(name) for name in settings.get("baselines") or ()]
    found = [name for name in names if predictions_path(run_dir, name).exists()]
    return [*found, TUNED] if (run_dir / "adapter").exists() else found


def _tuned(run_dir: Path, progress: Progress) -> _Asked:
    from burnish.models.adapters import load_tuned, read_info
    from burnish.models.generate import Engine

    info = read_info(run_dir / "adapter")
    config = _unmeasured(info.task)
    task = make_task(config, info.labels, shared_tools=bool(info.tools))
    tuned = load_tuned(run_dir / "adapter", progress=progress)
    engine = Engine(tuned, chat_of(tuned, info.chat_template), tokens_per_batch=config.generation.tokens_per_batch)
    system: System = local_system(TUNED, task, engine, config, full=info.prompt == "full")
    if config.training.context == "retrieved":
        searched = open_retriever(config, None, progress)
        system = WithContext(TUNED, system, tuned_context(searched, task, engine.chat, config, engine.context))
    return _Asked(system, config, info.tools, calibrated(run_dir))


def _baseline(run_dir: Path, name: str, progress: Progress) -> _Asked:
    """Made of the task's rows, which must be those of the run; documents are searched as they are now, as for a tuned
    model. What it writes down meanwhile is thrown away.
    """
    record = RunFolder(run_dir).record()
    config = _unmeasured(without_default_limits(record["config"]))
    loaded = LoadedTask(config, [], None, Path.cwd())
    # Rows that the run left out are left out again: whether they are the same is told by the fingerprint. A baseline
    # learns nothing from the mixture, whose fingerprints are taken on trust.
    prepared = prepare(loaded, allow_bad_rows=sys.maxsize, progress=progress, extras=False)
    mixture = [one["fingerprint"] for one in record.get("mixture") or ()]
    if combined([prepared.fingerprint, *mixture]) != record["data_fingerprint"]:
        raise RunError(
            f"the data have changed since the run: {name} would not answer as it was measured",
            where=str(run_dir),
            fix="restore the data (`burnish data lineage` names the files that differ), or run again",
        )
    with TemporaryDirectory() as scratch:
        if (run_dir / PROMPTS).exists():
            shutil.copy(run_dir / PROMPTS, scratch)
        system = Bench(loaded, prepared, NotesFolder(Path(scratch)), progress).system(name)
    tools = prepared.split.train[0].tools if getattr(prepared.task, "shared_tools", False) else ()
    return _Asked(system, config, tools, list)


def _unmeasured(settings: Mapping[str, Any]) -> TaskConfig:
    """A run's settings without what is only measured by: a user's own metric may be out of reach here, and documents
    that rows name may be gone."""
    config = TaskConfig.model_validate(settings)
    goal, data = config.goal.model_copy(update={"metric": None}), config.data.model_copy(update={"document": None})
    return config.model_copy(update={"goal": goal, "data": data})


def held_out_prompts(run_dir: Path, count: int = 16) -> list[list[Message]]:
    """Conversations on inputs that were not trained on, spread over the sealed test: for replays, without targets.

    Where rows had tools of their own, which are not kept in the run folder, the input stands alone. Raises RunError
    when the examples are gone.
    """
    from burnish.models.adapters import read_info

    info = read_info(run_dir / "adapter")
    config = _unmeasured(info.task)
    task = make_task(config, info.labels, shared_tools=bool(info.tools))
    held_out = run_dir / "test_examples.jsonl"
    if not held_out.exists():
        raise lacking(run_dir, held_out.name)
    rows = read_jsonl(held_out)
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
    """The example with the tools that the task's rows share, unless it brings its own."""
    if example.tools:
        return example
    if not shared:
        raise DataError(
            "the input brings no tools, and the task's rows have tools of their own",
            where=f"{example.source.file}:{example.source.line}",
            fix="give a file whose rows have a column 'tools'",
        )
    return replace(example, tools=shared)
