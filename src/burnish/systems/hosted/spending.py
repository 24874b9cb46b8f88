"""What answers cost, and a limit that is kept before money is spent."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.systems.hosted.wire import Reply

MILLION = 1e6


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """USD for a million tokens. cached_input: of prompt tokens that the endpoint had cached, None when the same."""

    input: float
    output: float
    cached_input: float | None = None

    def of(self, prompt_tokens: float, completion_tokens: float, cached_tokens: float = 0) -> float:
        """USD of so many tokens; the cached ones are among those of the prompt."""
        cached = self.input if self.cached_input is None else self.cached_input
        fresh = prompt_tokens - cached_tokens
        return (fresh * self.input + cached_tokens * cached + completion_tokens * self.output) / MILLION

    def of_reply(self, reply: Reply) -> float:
        """USD of one answer."""
        return self.of(reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens)


class Ledger:
    """What the answers of one endpoint cost: those paid for now, and those kept from before.

    A request is only sent when everything spent, everything under way at its most, and its own most stay below the
    limit. So the limit holds, unless an endpoint counts far more tokens than its earlier answers let expect.
    """

    def __init__(self, price: TokenPrice | None, limit: float | None) -> None:
        self.price, self.limit = price, limit
        self.paid = self.kept = 0.0
        self._under_way: list[float] = []
        self.requests = self.from_cache = 0
        self._prompts = (0, 0)  # tokens and characters of the prompts that were answered

    @property
    def total(self) -> float:
        """USD of all answers, also those paid for in an earlier sitting."""
        return self.paid + self.kept

    def most(self, characters: int, max_tokens: int) -> float:
        """USD that one request may cost."""
        if self.price is None:
            return 0.0
        tokens, counted = self._prompts
        a_character = 1.1 * tokens / counted if counted else 1 / 3  # cautious until there are answers
        return self.price.of(characters * a_character, max_tokens)

    def may_send(self, most: float) -> bool:
        """Whether a request stays within the limit."""
        return self.limit is None or self.price is None or self.total + sum(self._under_way) + most <= self.limit

    @property
    def waits(self) -> bool:
        """Whether any request is under way."""
        return bool(self._under_way)

    def sent(self, most: float) -> None:
        """A request is under way."""
        self._under_way.append(most)

    def ended(self, most: float) -> None:
        """It is not any more."""
        self._under_way.remove(most)

    def answered(self, reply: Reply, characters: int) -> None:
        """An answer that was paid for."""
        self.requests += 1
        if self.price is not None:
            self.paid += self.price.of_reply(reply)
        tokens, counted = self._prompts
        self._prompts = (tokens + reply.prompt_tokens, counted + characters)

    def found(self, reply: Reply) -> None:
        """An answer that was paid for before."""
        self.from_cache += 1
        if self.price is not None:
            self.kept += self.price.of_reply(reply)
