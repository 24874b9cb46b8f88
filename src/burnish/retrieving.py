"""Retrieval in a run: the number of passages, the run's own documents, and what it writes down of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from burnish.config import LoadedTask, TaskConfig
from burnish.errors import DataError, Problem, RunError, shorten
from burnish.prepare import Prepared
from burnish.records import Example, Json
from burnish.runs import Notes
from burnish.searching import context_of, fitting, passage_counts, tuned_context, with_count
from burnish.systems.rag import Context, RightDocument
from burnish.systems.retrieval import Retriever
from burnish.tasks import Task

if TYPE_CHECKING:
    from burnish.models.chat import Chat
    from burnish.models.load import Loaded

SELECT = "passages"  # what a way of prompting calls it
_SHOWN = 20


def passage_ways(config: TaskConfig) -> dict[str, tuple[Any, ...]]:
    """The values to try of each part of a way of prompting with passages, those used untried first."""
    instructions = tuple(dict.fromkeys([config.instruction, *config.prompt.instructions]))
    return {"k": passage_counts(config), "select": (SELECT,), "instruction": instructions}


def refuse_unknown_documents(retriever: Retriever, examples: Sequence[Example]) -> None:
    """DataError for examples that name a document which is not there: recall would be measured against nothing."""
    known = {passage.document for passage in retriever.passages}
    problems = []
    for example in examples:
        if example.document is None or example.document in known:
            continue
        close = get_close_matches(example.document, known, 1)
        fix = f"Did you mean {close[0]}?" if close else f"Ids are like {min(known)}; files are named by their path."
        source, what = example.source, "there is no such document"
        problems.append(Problem(source.file, source.line, "document", what, shorten(example.document), fix))
    if problems:
        what = f"{len(problems):,} examples name a document that is not among retrieval.documents"
        raise DataError(what, problems=problems[:_SHOWN], count=len(problems))


def keep_about(retriever: Retriever, folder: Notes) -> None:
    """Note what was searched. RunError when a resumed run finds other passages than it began with."""
    found, known = about(retriever), folder.record().get("retrieval")
    if known and known["fingerprint"] != found["fingerprint"]:
        raise RunError(
            "the documents, or how they are cut, have changed since the run began",
            got=f"{found['passages']} passages, {known['passages']} before",
            where=str(folder.path),
            fix="restore the documents, or begin anew without --resume",
        )
    folder.update(retrieval=found)


def about(retriever: Retriever) -> dict[str, Json]:
    """What was searched. fingerprint: SHA-256 of all passages."""
    digest = hashlib.sha256()
    for passage in retriever.passages:
        digest.update(f"{passage.document}\0{passage.title}\0{passage.text}\0".encode("utf-8", "surrogatepass"))
    documents = len({passage.document for passage in retriever.passages})
    return {"documents": documents, "passages": len(retriever.passages), "fingerprint": digest.hexdigest()}


def with_retrieved(prepared: Prepared, config: TaskConfig, chat: Chat, model: Loaded) -> Prepared:
    """Train and validation with passages in front of every input; the sealed test as it is.

    What the check has searched for is not searched for again.
    """
    context = tuned_context(prepared.documents.rows(), prepared.task, chat, config, positions_of(model))

    def shown(examples: Sequence[Example]) -> tuple[Example, ...]:
        return tuple(found.example for found in context.of(examples))

    split = prepared.split
    return prepared._replace(split=replace(split, train=shown(split.train), validation=shown(split.validation)))


def positions_of(model: Loaded) -> int:
    """The model's context in tokens."""
    from burnish.models.text_part import context_length

    return context_length(model.model)


def settled(loaded: LoadedTask, k: int) -> LoadedTask:
    """The task with one number of passages: what is trained on is what is answered with."""
    return replace(loaded, config=with_count(loaded.config, k))


class Library:
    """The documents of a run: checked and written down when first searched."""

    def __init__(self, loaded: LoadedTask, prepared: Prepared, folder: Notes) -> None:
        self._loaded = loaded
        self._prepared = prepared
        self._folder = folder
        self._known = False

    def prompted(self, k: int, task: Task, chat: Chat, length: int) -> Context:
        """What the base model is shown; length: its context in tokens."""
        return context_of(self._open(), k, task, chat, self._loaded.config, full=True, length=length)

    def right(self, task: Task, chat: Chat, length: int) -> RightDocument:
        """The documents that examples name, for the base model; length: its context in tokens."""
        return RightDocument(
            self._open().passages, fitting(task, chat, self._loaded.config, full=True, length=length)
        )

    def tuned(self, config: TaskConfig, chat: Chat, model: Loaded) -> Context:
        """What the tuned model is shown, with the number of passages that config says."""
        return tuned_context(self._open(), self._prepared.task, chat, config, positions_of(model))

    def trained(self, prepared: Prepared, config: TaskConfig, chat: Chat, model: Loaded) -> Prepared:
        """The rows to train on, with what the check has found for them."""
        self._open()
        return with_retrieved(prepared, config, chat, model)

    def _open(self) -> Retriever:
        found = self._prepared.documents.retriever()
        if not self._known:
            split = self._prepared.split
            refuse_unknown_documents(found, [*split.train, *split.validation, *split.test])
            keep_about(found, self._folder)
            self._known = True
        return found
