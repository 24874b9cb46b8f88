"""Who writes instructions: the task's own model, another local one, or a hosted one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from burnish.config import HostedConfig, LoadedTask
from burnish.errors import HostedError, ModelError
from burnish.hosting import hosted_config
from burnish.measure import Bench
from burnish.models.catalog import resolve
from burnish.progress import Progress
from burnish.records import JsonSchema, Message
from burnish.tuning.proposals import answer_schema

if TYPE_CHECKING:
    from burnish.models.generate import Engine
    from burnish.systems.hosted.endpoint import Endpoint

TEMPERATURE = 0.8  # the candidates of a round should differ
TOKENS = 200  # of one instruction, at most
Conversation = Callable[[int], list[Message]]  # with at most so many rows in it


class Proposer(Protocol):
    """name: for the log and the reports."""

    name: str

    def write(self, conversation: Conversation, rows: int, count: int, seed: int) -> str:
        """The answer to the conversation, with fewer rows in it where the context is too short for `rows`."""
        ...


class LocalProposer:
    """A model on this machine, held to the form of the answer."""

    def __init__(self, name: str, engine: Engine) -> None:
        self.name, self._engine = name, engine

    def write(self, conversation: Conversation, rows: int, count: int, seed: int) -> str:
        from burnish.models.generate import Request

        room = TOKENS * count
        for shown in range(rows, -1, -1):
            tokens = self._engine.chat.prompt(conversation(shown))
            if len(tokens) + room <= self._engine.context:
                request = Request(tuple(tokens), room, JsonSchema(answer_schema(count, 3 * TOKENS)))
                return self._engine.generate([request], temperature=TEMPERATURE, seed=seed)[0].text
        raise ModelError(
            "the model's context is too short to write instructions for this task",
            got=f"{self._engine.context} tokens",
            fix="name another model with --model",
        )


class HostedProposer:
    """A model behind an endpoint."""

    def __init__(self, hosted: HostedConfig, endpoint: Endpoint) -> None:
        self.name, self._hosted, self._endpoint = hosted.name, hosted, endpoint

    def write(self, conversation: Conversation, rows: int, count: int, seed: int) -> str:
        from burnish.systems.hosted.wire import Reply, chat_body

        for shown in (rows, rows // 2, 0):
            body = chat_body(
                self._hosted.model,
                conversation(shown),
                max_tokens=max(TOKENS * count, self._hosted.max_new_tokens or 0),
                temperature=TEMPERATURE,
                seed=seed,
                schema=answer_schema(count) if self._hosted.structured == "auto" else None,
                extra=self._hosted.extra,
            )
            [found] = self._endpoint.ask([body], lambda done, total: None)
            if isinstance(found, Reply):
                return found.text
        raise HostedError(
            "the prompt that asks for instructions is longer than the model's context",
            got=self._hosted.model,
            fix="name another model with --model",
        )


def require_proposer(model: str | None, loaded: LoadedTask) -> None:
    """Nothing, when `model` names something that can write, as far as is told without loading it; else ModelError."""
    if model is not None and hosted_config(loaded.config, model) is None:
        resolve(model, loaded.base_dir)


def make_proposer(model: str | None, loaded: LoadedTask, bench: Bench, progress: Progress) -> Proposer:
    """model: a hosted model of the task file, a catalogue name, folder, .gguf file or hub id; None: the task's own.

    Raises ModelError, ConfigError.
    """
    from burnish.fit import chat_of
    from burnish.models.generate import Engine
    from burnish.models.load import load_model

    hosted = None if model is None else hosted_config(loaded.config, model)
    if hosted is not None:
        return HostedProposer(hosted, bench.endpoint(hosted))
    if model is None or model == loaded.config.model:
        return LocalProposer(loaded.config.model, bench.base_engine())
    other = load_model(model, base_dir=loaded.base_dir, progress=progress)
    return LocalProposer(model, Engine(other, chat_of(other)))
