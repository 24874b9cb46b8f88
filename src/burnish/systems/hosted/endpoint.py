"""One endpoint: requests with bounded concurrency, retries, a cache, and a limit on what is spent."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from burnish.errors import HostedError
from burnish.progress import Progress
from burnish.records import Json
from burnish.systems.hosted.cache import ReplyCache
from burnish.systems.hosted.spending import Ledger
from burnish.systems.hosted.wire import (
    MalformedError,
    Refusal,
    Reply,
    characters,
    read_refusal,
    read_reply,
    without,
)

if TYPE_CHECKING:
    import httpx

LONGEST_WAIT = 120.0  # seconds between two tries, also where an endpoint asks for more
Body = dict[str, Json]
T = TypeVar("T")


class Address(NamedTuple):
    """Where an endpoint is and how to talk to it. name: the system's, for messages. key: None where it takes none.

    key_name: the environment variable it came from. concurrency: requests at once; timeout: seconds of one;
    retries: further tries of one; backoff: seconds before the first of them, doubled each time.
    """

    name: str
    base_url: str
    key: str | None
    key_name: str | None
    concurrency: int = 4
    timeout: float = 60.0
    retries: int = 5
    backoff: float = 0.5


class TooLong(NamedTuple):
    """Instead of an answer: the prompt is longer than the model's context."""

    message: str


class Endpoint:
    """Answers requests. Made once a run, so that its ledger holds all that the system costs."""

    def __init__(self, address: Address, ledger: Ledger, cache: ReplyCache, progress: Progress) -> None:
        self.address, self.ledger, self.cache = address, ledger, cache
        self._progress = progress
        self._unknown: list[str] = []  # fields that the endpoint refused
        self._pause_until = 0.0
        self._told: set[str] = set()

    def ask(self, bodies: Sequence[Body], on_progress: Callable[[int, int], None]) -> list[Reply | TooLong]:
        """The answers, in order; equal requests are sent once, those answered before not at all.

        Raises HostedError when the endpoint refuses, does not answer after all retries, or the limit is reached;
        what was answered until then is kept in the cache. Ctrl-C stops at once.
        """
        return _run(self._ask_all(bodies, on_progress))

    async def _ask_all(
        self, bodies: Sequence[Body], on_progress: Callable[[int, int], None]
    ) -> list[Reply | TooLong]:
        import httpx

        answers: dict[int, Reply | TooLong] = {}
        first: dict[str, int] = {}
        same = [first.setdefault(json.dumps(body, sort_keys=True), place) for place, body in enumerate(bodies)]
        for place in first.values():
            if (kept := self.cache.find(bodies[place])) is not None:
                self.ledger.found(kept)
                answers[place] = kept
        waiting = iter([place for place in first.values() if place not in answers])
        on_progress(len(answers), len(first))
        failures: list[HostedError] = []

        async def work(client: httpx.AsyncClient) -> None:
            for place in _until(waiting, failures):
                try:
                    answers[place] = await self._paid(client, bodies[place])
                except HostedError as error:
                    failures.append(error)
                    return
                on_progress(len(answers), len(first))

        limits = httpx.Limits(max_connections=self.address.concurrency)
        headers = {"Authorization": f"Bearer {self.address.key}"} if self.address.key else {}
        async with httpx.AsyncClient(limits=limits, headers=headers, timeout=self.address.timeout) as client:
            await asyncio.gather(*(work(client) for _ in range(self.address.concurrency)))
        if failures:
            raise failures[0]
        return [answers[place] for place in same]

    async def _paid(self, client: httpx.AsyncClient, body: Body) -> Reply | TooLong:
        """One answer, within the limit."""
        size = characters(body)
        most = self.ledger.most(size, _token_limit(body))
        while not self.ledger.may_send(most):
            if not self.ledger.waits:
                raise self._over_limit()
            await asyncio.sleep(0.02)  # what is under way costs less than its most
        self.ledger.sent(most)
        try:
            reply = await self._tried(client, body)
        finally:
            self.ledger.ended(most)
        if isinstance(reply, Reply):
            self.ledger.answered(reply, size)
            self.cache.keep(body, reply)
            if not reply.counted:
                self._tell("the endpoint does not tell tokens: they are estimated, and the cost with them")
        return reply

    async def _tried(self, client: httpx.AsyncClient, body: Body) -> Reply | TooLong:
        """One answer, after as many tries as it takes."""
        reason, tries = "", 0
        while tries <= self.address.retries:
            await self._pause()
            sent = body
            for field in self._unknown:
                sent = without(sent, field)
            found = await self._once(client, sent, body)
            if isinstance(found, Reply):
                return found
            if found.kind == "too_long":
                return TooLong(self._safe(found.message))
            if found.kind == "unsupported" and found.field is not None:
                # A field is among those sent, so this ends: each is left out once.
                self._leave_out(found.field, found.message)
                continue
            if found.kind != "retry":
                raise self._refused(found)
            reason, tries = self._safe(found.message), tries + 1
            self._wait(tries, found.wait)
        raise HostedError(
            f"{self.address.name} did not answer after {tries} tries: {reason}",
            got=self.address.base_url,
            fix="go on later (--resume): answers so far are kept; or lower concurrency, or raise timeout or retries",
        )

    async def _once(self, client: httpx.AsyncClient, sent: Body, body: Body) -> Reply | Refusal:
        import httpx

        began = time.perf_counter()
        try:
            async with asyncio.timeout(self.address.timeout):
                response = await client.post(f"{self.address.base_url.rstrip('/')}/chat/completions", json=sent)
        except (TimeoutError, httpx.TimeoutException):
            return Refusal("retry", f"no answer within {self.address.timeout:g} seconds")
        except httpx.TransportError as error:
            return Refusal("retry", f"no connection: {error or type(error).__name__}")
        except (httpx.InvalidURL, httpx.HTTPError) as error:
            return Refusal("other", str(error))
        if response.status_code != 200:
            return read_refusal(response.status_code, response.headers, response.text, sent)
        try:
            return read_reply(response.text, body, time.perf_counter() - began)
        except MalformedError as error:
            return Refusal("retry", f"the reply cannot be read: {error}: {response.text[:200]!r}")

    def _leave_out(self, field: str, message: str) -> None:
        if field not in self._unknown:
            self._unknown.append(field)
            self._tell(f"the endpoint takes no {field}, which is left out from now on: {self._safe(message)}")

    def _wait(self, tries: int, asked: float | None) -> None:
        """Nobody asks before the pause is over: with jitter, so that tries do not come at once."""
        usual = self.address.backoff * 2 ** (tries - 1) * random.uniform(0.5, 1.0)
        self._pause_until = max(self._pause_until, time.monotonic() + min(LONGEST_WAIT, max(usual, asked or 0.0)))

    async def _pause(self) -> None:
        while (rest := self._pause_until - time.monotonic()) > 0:
            await asyncio.sleep(rest)

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._progress.notice(f"{self.address.name}: {text}", warning=True)

    def _safe(self, text: str) -> str:
        """Without the key, should the endpoint repeat it."""
        return text.replace(self.address.key, "…") if self.address.key else text

    def _refused(self, found: Refusal) -> HostedError:
        address, message = self.address, self._safe(found.message)
        key_fix = f"put a valid key into the environment variable {address.key_name}"
        if address.key_name is None:
            key_fix = "name the environment variable that holds its key: api_key_env"
        what, fix = {
            "key": ("refuses the key", key_fix),
            "model": ("knows no such model or address", "check model and base_url (it usually ends in /v1)"),
            "credit": ("has no credit left", "add credit to the account; answers so far are kept"),
        }.get(found.kind, ("refuses the request", "check the settings of the hosted model against what is said"))
        where = f"hosted {address.name}"
        return HostedError(f"{address.name} {what}: {message}", got=address.base_url, where=where, fix=fix)

    def _over_limit(self) -> HostedError:
        ledger = self.ledger
        count = ledger.requests + ledger.from_cache
        return HostedError(
            f"{self.address.name} stops at its limit: ${ledger.total:.4f} is spent on {count:,} answers",
            got=ledger.limit,
            where=f"hosted {self.address.name}: max_cost",
            fix="raise max_cost and go on with --resume: answers so far are kept and not paid for twice",
        )


def _token_limit(body: Mapping[str, Json]) -> int:
    return int(body.get("max_tokens") or body.get("max_completion_tokens") or 0)


def _until(places: Iterator[int], failures: Sequence[HostedError]) -> Iterator[int]:
    """The next place, as long as nothing has failed."""
    for place in places:
        if failures:
            return
        yield place


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Also from within a running event loop, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
