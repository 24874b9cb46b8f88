"""A task's documents, opened for search, and the passages that examples are shown of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from burnish.config import LoadedTask, TaskConfig
from burnish.data.documents import load_documents
from burnish.data.passages import passages_of
from burnish.data.places import near
from burnish.errors import ModelError
from burnish.progress import Progress
from burnish.records import Example, Passage
from burnish.systems.rag import Context, Fits
from burnish.systems.retrieval import Remembered, Retriever, Searches
from burnish.tasks import Task

if TYPE_CHECKING:
    from burnish.models.chat import Chat

AUTO_K = (1, 2, 3, 5)


def passage_counts(config: TaskConfig) -> tuple[int, ...]:
    """The numbers of passages to try, ascending; one where it is settled."""
    k = config.retrieval.k
    return AUTO_K if k == "auto" else tuple(sorted(set(k))) if isinstance(k, list) else (k,)


def with_count(config: TaskConfig, k: int) -> TaskConfig:
    """The task with one number of passages."""
    return config.model_copy(update={"retrieval": config.retrieval.model_copy(update={"k": k})})


def most_passages(config: TaskConfig) -> str:
    """In words, how many passages the longest input has."""
    counts = passage_counts(config)
    said = "1 passage" if counts[-1] == 1 else f"{counts[-1]} passages"
    return f"{said} an input" + (", the most that retrieval.k allows" if len(counts) > 1 else "")


class Documents:
    """A task's documents, opened when first searched and then held."""

    def __init__(self, loaded: LoadedTask, progress: Progress) -> None:
        self._loaded = loaded
        self._progress = progress
        self._retriever: Retriever | None = None
        self._rows: Remembered | None = None

    def retriever(self) -> Retriever:
        """What answers are searched with. Raises DataError and ModelError."""
        if self._retriever is None:
            self._retriever = open_retriever(self._loaded.config, self._loaded.base_dir, self._progress)
        return self._retriever

    def rows(self) -> Remembered:
        """The same for rows that are checked and trained on: each is searched for once."""
        if self._rows is None:
            self._rows = Remembered(self.retriever())
        return self._rows


def open_retriever(config: TaskConfig, base_dir: Path | None, progress: Progress) -> Retriever:
    """The task's documents, cut into passages and embedded. Raises DataError and ModelError."""
    from burnish.models.embed import load_embedder

    passages = passages_of_task(config, progress)
    embedder = load_embedder(config.retrieval.model, base_dir=base_dir, progress=progress)
    return Retriever(passages, embedder.embed, progress)


def passages_of_task(config: TaskConfig, progress: Progress) -> list[Passage]:
    """The task's documents, cut into passages. Raises DataError."""
    settings = config.retrieval
    documents = load_documents([near(path) for path in settings.documents], notice=progress.notice)
    passages = [
        passage
        for document in documents
        for passage in passages_of(document, longest=settings.passage_words, overlap=settings.overlap_words)
    ]
    progress.notice(f"{len(documents):,} documents, {len(passages):,} passages")
    return passages


def context_of(
    retriever: Searches, k: int, task: Task, chat: Chat, config: TaskConfig, *, full: bool, length: int
) -> Context:
    """The k best passages, fewer where the prompt would leave no room for an answer in `length` tokens."""
    return Context(retriever, k, fitting(task, chat, config, full=full, length=length))


def fitting(task: Task, chat: Chat, config: TaskConfig, *, full: bool, length: int) -> Fits:
    """Whether an example's prompt leaves room for an answer in `length` tokens."""
    limit = length - min(config.generation.max_new_tokens, length // 2)

    def fits(example: Example) -> bool:
        return len(chat.prompt(task.messages(example, full=full))) <= limit

    return fits


def tuned_context(retriever: Searches, task: Task, chat: Chat, config: TaskConfig, positions: int) -> Context:
    """What the tuned model is shown, in training as in answering. positions: the model's context in tokens."""
    training = config.training
    length, full = min(training.max_length, positions), training.prompt == "full"
    return context_of(retriever, passage_counts(config)[0], task, chat, config, full=full, length=length)


def as_trained(
    loaded: LoadedTask, task: Task, chat: Chat, opened: Callable[[], Searches]
) -> Callable[[Sequence[Example]], list[Example]]:
    """Examples as the task trains on them: with passages in front of their inputs where training.context says so.

    While the number of passages is still to be chosen, it is the largest. opened: the documents, asked for only where
    they are searched. Raises DataError and ModelError.
    """
    from burnish.training.shapes import model_shape

    config = loaded.config
    if config.training.context == "none":
        return list
    positions = 2**31
    with suppress(ModelError):  # of a family whose config is not known here
        positions = model_shape(config.model, loaded.base_dir).context
    context = tuned_context(opened(), task, chat, with_count(config, passage_counts(config)[-1]), positions)
    return lambda examples: [found.example for found in context.of(examples)]
