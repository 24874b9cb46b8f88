"""One generation engine for all local systems.

Batched; the prompt prefix that all requests share is computed once; greedy or sampled; stops at the end of turn;
per-token log-probabilities under the constrained distribution.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from burnish.models.batch_state import HowRead, begin_batch, how_to_read, read_prefix
from burnish.models.chat import Chat
from burnish.models.constrain import Constrainer, Matcher, bits_to_bool
from burnish.models.load import Loaded
from burnish.models.text_part import context_length
from burnish.models.virtual_tokens import virtual_tokens
from burnish.records import Completion, Constraint


class Request(NamedTuple):
    """One prompt to answer. tokens: the whole prompt."""

    tokens: tuple[int, ...]
    max_new_tokens: int
    constraint: Constraint | None = None


@dataclass(slots=True)
class _Row:
    """One request while it is being answered. `pending`: chosen tokens that the model has not read yet."""

    index: int
    request: Request
    matcher: Matcher | None
    position: int
    sampler: torch.Generator | None
    pending: list[int]
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stopped: bool = False


class Engine:
    """Answers requests with one model.

    tokens_per_batch bounds rows × (prompt + answer) of a batch; max_rows bounds its rows.
    """

    def __init__(self, loaded: Loaded, chat: Chat, *, tokens_per_batch: int = 16384, max_rows: int = 256) -> None:
        self.loaded = loaded
        self.chat = chat
        self.model = loaded.model
        self.context = context_length(self.model) - virtual_tokens(self.model)
        self._vocabulary = int(self.model.get_output_embeddings().weight.shape[0])
        self._constrainer = Constrainer(chat, self._vocabulary)
        self._tokens_per_batch = tokens_per_batch
        self._max_rows = max_rows

    @functools.cached_property
    def _how(self) -> HowRead:
        """Found out when it is needed: a model that is cut over processes is whole before, and in main memory."""
        return how_to_read(self.model)

    @torch.inference_mode()
    def generate(
        self,
        requests: Sequence[Request],
        *,
        temperature: float = 0.0,
        seed: int = 0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[Completion]:
        """Answer the requests, in order.

        temperature 0 is greedy; else tokens are sampled, each request with its own generator of (seed, index),
        so that an answer does not depend on what else is in the batch order.
        A prompt that leaves no room in the model's context gives an empty text with finish "length".
        Raises ModelError for a model that does not go on from what it has read.
        """
        was_training = self.model.training
        self.model.eval()
        done: dict[int, Completion] = {}
        fits = [i for i, request in enumerate(requests) if 0 < len(request.tokens) < self.context]
        for i in set(range(len(requests))) - set(fits):
            done[i] = Completion("", (), (), None, "length", len(requests[i].tokens), 0, 0.0)
        shared = shared_length([requests[i].tokens for i in fits])
        beginning = requests[fits[0]].tokens[:shared] if shared else ()
        prefix = read_prefix(self.model, self._how, beginning, self.loaded.device) if shared else None
        for batch in self._batches(requests, fits, shared):
            started = time.perf_counter()
            rows = [self._row(i, requests[i], shared, temperature, seed) for i in batch]
            self._answer(rows, prefix, shared, temperature)
            seconds = (time.perf_counter() - started) / len(rows)
            done.update({row.index: self._completion(row, shared, seconds) for row in rows})
            if on_progress:
                on_progress(len(done), len(requests))
        self.model.train(was_training)
        return [done[i] for i in range(len(requests))]

    def _row(self, index: int, request: Request, shared: int, temperature: float, seed: int) -> _Row:
        sampler = None
        if temperature > 0:
            sampler = torch.Generator().manual_seed((seed * 1_000_003 + index) % 2**63)
        matcher = self._constrainer.matcher(request.constraint) if request.constraint is not None else None
        row = _Row(index, request, matcher, shared, sampler, list(request.tokens[shared:]))
        if matcher is not None:
            opening = matcher.forced()
            room = min(request.max_new_tokens, self.context - len(request.tokens))
            if len(opening) < room:  # read together with the prompt
                self._force(row, opening)
                row.pending += opening
                row.stopped = matcher.finished()
        return row

    def _force(self, row: _Row, tokens: list[int]) -> None:
        """Tokens without a choice: certain."""
        assert row.matcher is not None
        for token in tokens:
            row.matcher.accept(token)
            row.tokens.append(token)
            row.logprobs.append(0.0)

    def _batches(self, requests: Sequence[Request], fits: list[int], shared: int) -> list[list[int]]:
        """Requests of similar length together, within the budgets."""
        order = sorted(fits, key=lambda i: (-len(requests[i].tokens), i))
        batches: list[list[int]] = []
        rows = 0
        for i in order:
            if not batches or len(batches[-1]) >= rows:
                batches.append([])
                length = len(requests[i].tokens) - shared
                fitting = self._tokens_per_batch // (length + requests[i].max_new_tokens)
                rows = max(1, min(self._max_rows, fitting))
            batches[-1].append(i)
        return batches

    def _answer(self, rows: list[_Row], prefix: Any, shared: int, temperature: float) -> None:
        """Prefill and decode one batch until every row has stopped."""
        lengths = [(len(row.pending), row.request.max_new_tokens) for row in rows]
        state = begin_batch(self.model, self._how, prefix, shared, lengths, self.loaded.device)
        active = list(rows)
        while active:
            width = state.width([len(row.pending) for row in active])
            logits = state.step([row.pending[:width] for row in active], [row.position for row in active])
            for row in active:
                row.position += len(row.pending[:width])
                row.pending = row.pending[width:]
            self._choose(active, logits, temperature)
            going = [i for i, row in enumerate(active) if not row.stopped]
            if len(going) <= len(active) // 2 or len(going) < 4:
                if len(going) < len(active):
                    state.keep(going)
                    active = [active[i] for i in going]
            elif len(going) < len(active):
                for row in active:  # cheaper to carry a few finished rows along than to move all keys
                    if row.stopped:
                        row.pending = [self.chat.end_of_turn]

    def _choose(self, rows: list[_Row], logits: Tensor, temperature: float) -> None:
        """Pick the next tokens of each row that has none left to read from logits [rows, vocabulary]; forced tokens
        follow without a choice."""
        allowed = np.ones((len(rows), self._vocabulary), dtype=np.bool_)
        for i, row in enumerate(rows):
            if row.matcher is not None and not row.stopped and not row.pending:
                options = row.matcher.allowed()
                if isinstance(options, np.ndarray):
                    allowed[i] = bits_to_bool(options, self._vocabulary)
                else:
                    allowed[i] = False
                    allowed[i, options] = True
        masked = logits.float().cpu().masked_fill_(~torch.from_numpy(allowed), float("-inf"))
        logprobs = torch.log_softmax(masked, dim=-1)
        best = masked.argmax(dim=-1).tolist()
        for i, row in enumerate(rows):
            if row.stopped or row.pending:  # what is forced is not read to its end yet
                continue
            token = int(best[i])
            if row.sampler is not None:
                weights = torch.softmax(masked[i] / temperature, dim=-1)
                token = int(torch.multinomial(weights, 1, generator=row.sampler))
            self._take(row, token, float(logprobs[i, token]))

    def _take(self, row: _Row, token: int, logprob: float) -> None:
        row.logprobs.append(logprob)
        if row.matcher is None:
            if token in self.chat.stop_ids:
                row.stopped = True
                return
            row.tokens.append(token)
            row.pending = [token]
        else:
            row.matcher.accept(token)
            ended = token == self.chat.end_of_turn
            row.pending = [] if ended else [token, *row.matcher.forced()]
            row.tokens += row.pending[:1]
            self._force(row, row.pending[1:])
            row.stopped = ended or row.matcher.finished()
        full = len(row.tokens) >= row.request.max_new_tokens
        if not row.stopped and (full or row.position + len(row.pending) >= self.context):
            row.stopped = True
            del row.tokens[row.request.max_new_tokens :], row.logprobs[row.request.max_new_tokens :]
            row.logprobs.append(float("nan"))  # marks a cut answer; removed in _completion

    def _completion(self, row: _Row, shared: int, seconds: float) -> Completion:
        cut = bool(row.logprobs) and np.isnan(row.logprobs[-1])
        logprobs = row.logprobs[:-1] if cut else row.logprobs
        total = float(np.sum(logprobs)) if logprobs else 0.0
        confidence = None
        if logprobs:
            # Free text: the geometric mean per token, which does not fall with length.
            confidence = float(np.exp(total if row.matcher is not None else total / len(logprobs)))
        return Completion(
            text=self.chat.decode(row.tokens),
            tokens=tuple(row.tokens),
            logprobs=tuple(logprobs),
            confidence=confidence,
            finish="length" if cut else "stop",
            prompt_tokens=len(row.request.tokens),
            cached_tokens=shared,
            seconds=seconds,
        )


def shared_length(prompts: Sequence[tuple[int, ...]], least: int = 8) -> int:
    """Tokens that all prompts start with, leaving each at least one of its own; 0 when fewer than `least`."""
    if len(prompts) < 2:
        return 0
    low, high = min(prompts), max(prompts)  # the extremes in lexical order share what all share
    length = 0
    limit = min(len(prompt) for prompt in prompts) - 1
    while length < limit and low[length] == high[length]:
        length += 1
    return length if length >= least else 0
