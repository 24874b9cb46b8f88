"""The general-capability probe in a run: asked before and after tuning, kept, compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from burnish.config import TaskConfig
from burnish.data.questions import Question, read_questions
from burnish.evaluation.forgetting import compare_probes
from burnish.evaluation.probe import answer_questions, check_same
from burnish.progress import Progress
from burnish.records import Forgetting, ProbeAnswer
from burnish.runs import RunFolder, from_json, read_jsonl, write_jsonl

if TYPE_CHECKING:
    from burnish.models.chat import Chat
    from burnish.models.load import Loaded

When = Literal["before", "after"]
BUILT_IN = "built-in"
ALLOWED = 0.05  # where goal.forgetting is auto and answers are free text: as large as the default margin
CLOSED = ("classification", "extraction", "tool_calling")  # kinds whose answers are held to labels, schema or tools


class Probe(Protocol):
    """Lets the untuned or the tuned model answer."""

    def __call__(self, questions: Sequence[Question], *, tuned: bool) -> list[ProbeAnswer]: ...


def questions_of(config: TaskConfig, progress: Progress) -> list[Question]:
    """The probe's questions; none when it is off. Raises DataError for bad rows."""
    if not config.probe.enabled:
        return []
    return some_questions(config.probe.file, config.probe.questions, progress)


def some_questions(file: Path | None, limit: int | None, progress: Progress) -> list[Question]:
    """At most `limit` questions of a file (None: the built-in ones); tells when that leaves some out."""
    every = read_questions(file)
    if limit is None or len(every) <= limit:
        return every
    progress.notice(f"probe: {limit:,} of the {len(every):,} questions are asked, chosen by hash")
    return read_questions(file, limit=limit)


def ask(loaded: Loaded, chat: Chat, questions: Sequence[Question], progress: Progress) -> list[ProbeAnswer]:
    """A loaded model's answers."""
    from burnish.models.score import loglikelihoods

    def tell(done: int, total: int) -> None:
        progress.advance("choices of general questions", done, total)

    return answer_questions(questions, chat, lambda requests: loglikelihoods(loaded, requests, on_progress=tell))


def probe_step(
    folder: RunFolder, when: When, questions: Sequence[Question], probe: Probe, progress: Progress
) -> None:
    """probe/<when>.jsonl, unless an earlier sitting left it."""
    path = _path(folder, when)
    if questions and not path.exists():
        progress.stage("probe", f"{len(questions):,} general questions {when} tuning")
        write_jsonl(path, probe(questions, tuned=when == "after"))


def allowed_fall(config: TaskConfig) -> float | None:
    """What goal.forgetting means for the task.

    auto: free text draws on what the model knows in general, so it may lose ALLOWED. Labels, JSON of a schema and
    calls of tools are a closed task, and a model that does it well is no worse for what it lost elsewhere: any fall.
    """
    if config.goal.forgetting == "auto":
        return None if config.kind in CLOSED else ALLOWED
    return config.goal.forgetting


def forgetting_of(folder: RunFolder, questions: Sequence[Question], config: TaskConfig) -> Forgetting | None:
    """The two probes of a run compared, None when it was not probed. Raises RunError when the questions changed."""
    if not questions:
        return None
    before, after = _read(folder, "before", questions), _read(folder, "after", questions)
    name = probe_name(config.probe.file)
    return compare_probes(before, after, probe=name, allowed=allowed_fall(config), seed=config.seed)


def probe_name(file: Path | None) -> str:
    """What a set of questions is called."""
    return BUILT_IN if file is None else file.name


def _path(folder: RunFolder, when: When) -> Path:
    return folder.path / "probe" / f"{when}.jsonl"


def _read(folder: RunFolder, when: When, questions: Sequence[Question]) -> list[ProbeAnswer]:
    path = _path(folder, when)
    answers = [from_json(ProbeAnswer, line, f"{path}:{n}") for n, line in enumerate(read_jsonl(path), 1)]
    check_same(questions, answers, str(path))
    return answers
