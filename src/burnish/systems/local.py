"""Systems that answer with a model on this machine: prompt, few-shot and tuned differ only in what they are given."""

from __future__ import annotations

from collections.abc import Sequence

from burnish.models.generate import Engine, Request
from burnish.progress import Progress
from burnish.records import Example, Parsed, Prediction
from burnish.systems.shots import Shots
from burnish.tasks.base import Task


class LocalSystem:
    """A prompt, a model, and the same constraint for all.

    full: whether the prompt holds the label list or the schema. shots: where examples in the prompt come from.
    """

    def __init__(
        self,
        name: str,
        task: Task,
        engine: Engine,
        *,
        full: bool,
        shots: Shots | None = None,
        constrain: bool = True,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.name = name
        self._task = task
        self._engine = engine
        self._full = full
        self._shots = shots
        self._constrain = constrain
        self._max_new_tokens = max_new_tokens
        self._temperature = temperature
        self._seed = seed

    def predict(self, examples: Sequence[Example], progress: Progress) -> list[Prediction]:
        """Answer the examples, in order. Shots are dropped, the farthest first, where the context is too short."""
        chosen = self._shots.select(examples) if self._shots else [[] for _ in examples]
        requests = [self._request(example, shots) for example, shots in zip(examples, chosen, strict=True)]

        def tell(done: int, total: int) -> None:
            progress.advance(f"{self.name} answers", done, total)

        tell(0, len(requests))
        completions = self._engine.generate(
            requests, temperature=self._temperature, seed=self._seed, on_progress=tell
        )
        predictions = []
        for example, completion in zip(examples, completions, strict=True):
            parsed = self._task.parse(completion.text, example)
            if completion.finish == "length" and parsed.value is None:
                room = self._engine.context - completion.prompt_tokens
                reason = "the prompt fills the model's context" if room < 1 else "the answer was cut off"
                parsed = Parsed(None, f"{reason}: {parsed.error}" if parsed.error else reason)
            predictions.append(
                Prediction(
                    example_id=example.id,
                    text=completion.text,
                    parsed=parsed,
                    confidence=completion.confidence,
                    prompt_tokens=completion.prompt_tokens,
                    completion_tokens=len(completion.tokens),
                    seconds=completion.seconds,
                )
            )
        return predictions

    def _request(self, example: Example, shots: Sequence[Example]) -> Request:
        constraint = self._task.constraint(example) if self._constrain else None
        room = self._engine.context - self._max_new_tokens
        while True:
            messages = self._task.messages(example, full=self._full, shots=shots)
            tokens = self._engine.chat.prompt(messages)
            if len(tokens) <= room or not shots:
                return Request(tuple(tokens), self._max_new_tokens, constraint)
            shots = shots[1:]
