"""From a task file to a task object, checked examples and their split: what every command on data begins with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from burnish.config import CheckConfig, DataConfig, LoadedTask
from burnish.data.check import check_examples
from burnish.data.checks.masking import masked_problem
from burnish.data.checks.names import FindNames, name_finder
from burnish.data.fingerprint import combined, examples_fingerprint
from burnish.data.load import Reading, read_examples
from burnish.data.mixture import Extra, mixture_leaks
from burnish.data.places import near
from burnish.data.reasons import told
from burnish.data.split import split_examples, split_given
from burnish.errors import DataError, Problem, at_place, shorten
from burnish.mixing import read_extras
from burnish.progress import Progress, Silent
from burnish.records import DataReport, Example, Json, Split
from burnish.searching import Documents, as_trained, most_passages
from burnish.systems.retrieval import Searches
from burnish.tasks import Task, have_shared_tools, make_task, target_error
from burnish.tasks.preference import answers_think, check_pairs, learned_answers

if TYPE_CHECKING:
    from burnish.models.chat import Chat

SHOWN = 20
PLACES = 1000  # of a finding, in data_report.json


class Prepared(NamedTuple):
    """task: knows the labels found in the data; fingerprint: of all examples and extras.

    extras: the further data sets to train on (mixture, replay). documents: to answer from, opened once for all steps.
    """

    task: Task
    split: Split
    fingerprint: str
    labels: tuple[str, ...]
    documents: Documents
    extras: tuple[Extra, ...] = ()

    def shown(self, example: Example) -> dict[str, Json]:
        """An example as the report shows it: id, input text, target."""
        user = [message.content for message in example.messages if message.role != "system"]
        return {"id": example.id, "input": "\n".join(user), "target": example.target}


class Checked(NamedTuple):
    """What `prepare_checked` gives."""

    prepared: Prepared
    report: DataReport


def prepare(
    loaded: LoadedTask, *, allow_bad_rows: int = 0, progress: Progress | None = None, extras: bool = True
) -> Prepared:
    """Read, validate and split the examples of a task; what is wrong with good rows is not looked for.

    extras: whether the further data sets are read, too, and count in the fingerprint.
    Raises DataError with the first bad rows, ConfigError.
    """
    return _prepare(loaded, allow_bad_rows, progress or Silent(), extras=extras)[0]


def prepare_checked(loaded: LoadedTask, *, allow_bad_rows: int = 0, progress: Progress | None = None) -> Checked:
    """`prepare`, and the data check, for what is trained and measured on these rows.

    The model's tokenizer is loaded for the lengths. Raises as `prepare`, and ModelError.
    """
    progress = progress or Silent()
    config = loaded.config
    prepared, everything = _prepare(loaded, allow_bad_rows, progress)
    report = check_examples(
        everything,
        kind=config.kind,
        stratum=prepared.task.stratum,
        count_tokens=token_counter(loaded, prepared.task, prepared.documents.rows, progress),
        max_length=config.training.max_length,
        split=prepared.split,
        against=[near(file) for file in config.data.contamination],
        names=names_of(config.check, loaded.base_dir),
        labels=config.labels,
    )
    leaks = mixture_leaks(prepared.extras, prepared.split.test, prepared.split.validation)
    return Checked(prepared, replace(report, findings=told([*leaks, *report.findings], PLACES)))


def _prepare(
    loaded: LoadedTask, allow_bad_rows: int, progress: Progress, *, extras: bool = True
) -> tuple[Prepared, list[Example]]:
    """`prepare`, and all examples in the order of their files."""
    config = loaded.config
    parts = {
        name: _read(loaded, paths, allow_bad_rows, progress) if paths else []
        for name, paths in (
            ("train", config.data.train),
            ("validation", config.data.validation),
            ("test", config.data.test),
        )
    }
    everything = [example for part in parts.values() for example in part]
    labels = _labels(loaded, everything)
    task = make_task(config, labels, shared_tools=have_shared_tools(everything), base_dir=loaded.base_dir)
    everything = _with_good_targets(task, everything, allow_bad_rows)
    good = {id(example) for example in everything}
    parts = {name: [example for example in part if id(example) in good] for name, part in parts.items()}
    split = _split(loaded, task, parts)
    if config.kind == "preference":
        check_pairs(split, config.training.objective)
    further = read_extras(loaded, progress) if extras else ()
    fingerprint = combined([examples_fingerprint(everything), *(extra.fingerprint for extra in further)])
    documents = Documents(loaded, progress)
    return Prepared(task, split, fingerprint, labels, documents, further), everything


def names_of(config: CheckConfig, base_dir: Path | None = None) -> FindNames | None:
    """What finds names of persons, where they are asked for. Raises ConfigError when it is not installed."""
    folder = (base_dir or Path()) / config.names_model
    return name_finder(str(folder) if folder.is_dir() else config.names_model) if config.names else None


def read_labelled(loaded: LoadedTask, allow_bad_rows: int, progress: Progress) -> list[Example]:
    """Every row of a task's files, whatever its part. Raises DataError with the first bad rows."""
    data = loaded.config.data
    return _read(loaded, [*data.train, *data.validation, *data.test], allow_bad_rows, progress)


def refuse_errors(report: DataReport, progress: Progress) -> None:
    """Tell what the check found; DataError for the first error among it."""
    errors = [finding for finding in report.findings if finding.severity == "error"]
    for finding in report.findings:
        if finding.severity != "info":
            progress.notice(f"{finding.kind}: {finding.message}", warning=True)
    if errors:
        first = errors[0]
        place = f"{first.rows[0].file}:{first.rows[0].line}" if first.rows else None
        raise DataError(f"{first.kind}: {first.message}", where=place, fix=first.advice)


def _read(loaded: LoadedTask, paths: Sequence[Path], allow_bad_rows: int, progress: Progress) -> list[Example]:
    reading: Reading = read_examples(
        [near(path) for path in paths], allow_bad_rows=allow_bad_rows, show=SHOWN, **reading_options(loaded)
    )
    for file in reading.files:
        progress.notice(str(file))
    if reading.bad:
        progress.notice(f"{reading.bad} bad rows were left out, as --allow-bad-rows allows", warning=True)
        for problem in reading.problems:
            progress.notice(str(problem).replace("\n", " "), warning=True)
    return list(reading.examples)


def reading_options(loaded: LoadedTask) -> dict[str, Any]:
    """How the task's rows are read: the arguments that `read_examples`, `iter_examples` and `check_files` share."""
    return {
        **data_options(loaded.config.data),
        "kind": loaded.config.kind,
        "group": loaded.config.split.group,
        "slices": loaded.config.slices,
        "labels": loaded.config.labels,
        "schema": loaded.config.json_schema,
    }


def data_options(data: DataConfig) -> dict[str, Any]:
    """Those of them that stand below `data`."""
    return {
        "format": data.format,
        "answers": [near(file) for file in data.answers],
        "text": data.text,
        "target": data.target,
        "weight": data.weight,
        "document": data.document,
        "tools": data.tools,
    }


def _labels(loaded: LoadedTask, examples: Sequence[Example]) -> tuple[str, ...]:
    if loaded.config.kind != "classification":
        return ()
    return tuple(loaded.config.labels or sorted({str(example.target) for example in examples}))


def _with_good_targets(task: Task, examples: Sequence[Example], allow_bad_rows: int) -> list[Example]:
    """Examples whose target reads back as it was written. DataError names those that do not."""
    good: list[Example] = []
    problems: list[Problem] = []
    for example in examples:
        reason = target_error(task, example)
        if reason is None:
            good.append(example)
            continue
        source = example.source
        fix = "correct the target so that it is a right answer to the task"
        bad = Problem(source.file, source.line, "target", reason, shorten(example.target), fix)
        problems.append(masked_problem(bad))
    if len(problems) > allow_bad_rows:
        what = f"{len(problems):,} targets of {len(examples):,} cannot be right answers"
        fix = f"correct the rows, or go on without them: --allow-bad-rows {len(problems)}"
        raise DataError(what, problems=problems[:SHOWN], count=len(problems), fix=fix)
    return good


def _split(loaded: LoadedTask, task: Task, parts: dict[str, list[Example]]) -> Split:
    """The user's own parts where given; the others are cut from train."""
    shares, seed = loaded.config.split, loaded.config.seed
    cut = split_examples(
        parts["train"],
        validation=0 if parts["validation"] else shares.validation,
        test=0 if parts["test"] else shares.test,
        seed=seed,
        stratum=task.stratum if shares.stratify else None,
    )
    if not parts["validation"] and not parts["test"]:
        return cut
    return split_given(cut.train, parts["validation"] or cut.validation, parts["test"] or cut.test)


def token_counter(
    loaded: LoadedTask, task: Task, opened: Callable[[], Searches], progress: Progress
) -> Callable[[Sequence[Example]], list[int]]:
    """Token lengths of examples as they would be trained on: passages, prompt and (the longer) answer together.

    opened: the task's documents, asked for only where they are searched.
    """
    made: list[tuple[Chat, Callable[[Sequence[Example]], list[Example]]]] = []

    def count(examples: Sequence[Example]) -> list[int]:
        from burnish.models.chat import Chat
        from burnish.models.load import load_tokenizer

        if not made:
            tokenizer = load_tokenizer(loaded.config.model, base_dir=loaded.base_dir, progress=progress)
            chat = Chat(tokenizer, thinks=answers_think(task, examples))
            made.append((chat, as_trained(loaded, task, chat, opened)))
            if loaded.config.training.context == "retrieved":
                progress.notice(f"lengths are counted with {most_passages(loaded.config)}")
        chat, shown = made[0]
        full = loaded.config.training.prompt == "full"

        def length(example: Example) -> int:
            messages = task.messages(example, full=full)
            with at_place(f"{example.source.file}:{example.source.line}"):
                return max(len(chat.render(messages, answer).tokens) for _, answer in learned_answers(task, example))

        return [length(example) for example in shown(examples)]

    return count
