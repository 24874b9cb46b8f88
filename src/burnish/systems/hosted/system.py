"""A hosted model as a system: the prompt of the baselines, sent elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from burnish.errors import HostedError
from burnish.progress import Progress
from burnish.records import Example, Json, JsonSchema, Parsed, Prediction
from burnish.systems.hosted.endpoint import Body, Endpoint, TooLong
from burnish.systems.hosted.wire import CHARACTERS_PER_TOKEN, Reply, characters, chat_body
from burnish.systems.shots import Shots
from burnish.tasks.base import Task


class HostedSystem:
    """The full prompt, with shots if wanted, answered by an endpoint.

    answer_tokens: expected of an answer, for the estimate of the cost. structured: whether the endpoint is asked to
    hold answers to the task's schema. extra: further fields of every request.
    """

    def __init__(
        self,
        name: str,
        task: Task,
        endpoint: Endpoint,
        model: str,
        *,
        shots: Shots | None = None,
        structured: bool = True,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        seed: int = 0,
        answer_tokens: float = 0.0,
        extra: Mapping[str, Json] | None = None,
    ) -> None:
        self.name = name
        self._task, self._endpoint, self._model, self._shots = task, endpoint, model, shots
        self._structured, self._max_new_tokens = structured, max_new_tokens
        self._temperature, self._seed, self._extra = temperature, seed, extra or {}
        self._answer_tokens = answer_tokens

    def predict(self, examples: Sequence[Example], progress: Progress) -> list[Prediction]:
        """Answer the examples, in order. Shots are dropped, the farthest first, where the context is too short.

        The seconds of a prediction are those from request to answer. Raises HostedError.
        """
        shots = self._shots.select(examples) if self._shots else [[] for _ in examples]
        bodies = [self._body(example, chosen) for example, chosen in zip(examples, shots, strict=True)]
        self._announce(bodies, progress)

        def tell(done: int, total: int) -> None:
            progress.advance(f"{self.name} answers", done, total, self._facts())

        found = self._endpoint.ask(bodies, tell)
        while again := [place for place, one in enumerate(found) if isinstance(one, TooLong) and shots[place]]:
            for place in again:
                shots[place] = shots[place][1:]
                bodies[place] = self._body(examples[place], shots[place])
            for place, one in zip(again, self._endpoint.ask([bodies[place] for place in again], tell), strict=True):
                found[place] = one
        return [self._prediction(example, one) for example, one in zip(examples, found, strict=True)]

    def _body(self, example: Example, shots: Sequence[Example]) -> Body:
        constraint = self._task.constraint(example) if self._structured else None
        return chat_body(
            self._model,
            self._task.messages(example, full=True, shots=shots),
            max_tokens=self._max_new_tokens,
            temperature=self._temperature,
            seed=self._seed,
            schema=constraint.schema if isinstance(constraint, JsonSchema) else None,
            extra=self._extra,
        )

    def _announce(self, bodies: Sequence[Body], progress: Progress) -> None:
        """What is about to be asked and what it will cost; HostedError where that is more than may be spent."""
        endpoint, ledger = self._endpoint, self._endpoint.ledger
        new = [body for body in bodies if endpoint.cache.find(body) is None]
        prompt = sum(characters(body) for body in new) / CHARACTERS_PER_TOKEN
        answer = self._answer_tokens * len(new)
        host = urlsplit(endpoint.address.base_url).netloc
        text = f"{self.name}: {len(new):,} requests to {self._model} at {host}"
        if len(new) < len(bodies):
            text += f" ({len(bodies) - len(new):,} answers are kept from before)"
        if not new:
            progress.notice(text)
            return
        text += f", about {prompt:,.0f} tokens of prompts and {answer:,.0f} of answers"
        if ledger.price is None:
            progress.notice(f"{text}; no price is known, so the cost is not counted")
            return
        cost = ledger.price.of(prompt, answer)
        limit = "" if ledger.limit is None else f"; at most ${ledger.limit:g} is spent (max_cost)"
        progress.notice(f"{text}, about ${cost:.4f}{limit}")
        whole = ledger.total + cost
        if ledger.limit is not None and whole > ledger.limit:
            raise HostedError(
                f"{self.name} would cost about ${whole:.4f}, more than it may (paid so far: ${ledger.paid:.4f})",
                got=ledger.limit,
                where=f"hosted {self.name}: max_cost",
                fix="raise max_cost, or ask fewer rows (split.test, prompt.eval_examples)",
            )

    def _facts(self) -> dict[str, str]:
        ledger = self._endpoint.ledger
        return {} if ledger.price is None else {"paid": f"${ledger.paid:.4f}"}

    def _prediction(self, example: Example, reply: Reply | TooLong) -> Prediction:
        if isinstance(reply, TooLong):
            parsed = Parsed(None, f"the prompt is longer than the model's context: {reply.message}")
            return Prediction(example.id, "", parsed, None, 0, 0, 0.0, cost=0.0)
        parsed = self._task.parse(reply.text, example)
        if reply.finish == "refused":
            parsed = Parsed(None, "the model or a filter refused to answer")
        elif reply.finish == "length" and parsed.value is None:
            parsed = Parsed(None, f"the answer was cut off: {parsed.error}" if parsed.error else "it was cut off")
        price = self._endpoint.ledger.price
        return Prediction(
            example_id=example.id,
            text=reply.text,
            parsed=parsed,
            confidence=None,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            seconds=reply.seconds,
            cost=None if price is None else price.of_reply(reply),
        )
