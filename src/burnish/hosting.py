"""The hosted models of a task file: key, price and limit looked up, endpoint made."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

from burnish.config import HostedConfig, TaskConfig
from burnish.errors import ConfigError
from burnish.models.wheels import cache_dir
from burnish.progress import Progress
from burnish.records import Example, Json
from burnish.systems.hosted.cache import ReplyCache
from burnish.systems.hosted.endpoint import Address, Endpoint
from burnish.systems.hosted.spending import Ledger, TokenPrice
from burnish.systems.hosted.system import HostedSystem
from burnish.systems.hosted.wire import CHARACTERS_PER_TOKEN
from burnish.systems.shots import Shots
from burnish.tasks.base import Task

SAMPLE = 200  # training answers from which the length of an answer is estimated


def hosted_config(config: TaskConfig, name: str) -> HostedConfig | None:
    """The hosted model of that name, None when there is none. `hosted:` before the name is left out."""
    wanted = name.removeprefix("hosted:")
    return next((one for one in config.hosted if one.name == wanted), None)


def require_hosted(config: TaskConfig, progress: Progress) -> None:
    """Nothing, when all hosted models among the baselines can be asked: told before hours of other work are done.

    Raises ConfigError.
    """
    for one in config.hosted:
        if one.name in config.baselines:
            endpoint_of(one, config, progress)


def without_limits(settings: Mapping[str, Json]) -> dict[str, Json]:
    """A task's settings without those of hosted models that change no answer: they may change before --resume."""
    limits = ("concurrency", "timeout", "retries", "max_cost", "api_key_env")
    kept = [{key: value for key, value in one.items() if key not in limits} for one in settings.get("hosted") or ()]
    return {**settings, "hosted": kept}


def without_default_limits(settings: Mapping[str, Json]) -> dict[str, Json]:
    """A run's settings with default limits on the cost left unsaid: a limit that is said needs a price."""
    default = HostedConfig.model_fields["max_cost"].default
    kept = [
        {key: value for key, value in one.items() if (key, value) != ("max_cost", default)}
        for one in settings.get("hosted") or ()
    ]
    return {**settings, "hosted": kept}


def endpoint_of(hosted: HostedConfig, config: TaskConfig, progress: Progress) -> Endpoint:
    """The endpoint of a hosted model. Raises ConfigError when its key, or a price for its limit, is missing."""
    if config.context.private and not hosted.own_machine:
        raise ConfigError(
            "inputs may not leave the own machines (context.private), and this model is hosted elsewhere",
            got=hosted.base_url,
            where=f"hosted {hosted.name}",
            fix="leave it out, or set own_machine: true where the endpoint is yours",
        )
    price = price_of(hosted, config)
    if price is None and hosted.max_cost is not None and "max_cost" in hosted.model_fields_set:
        raise ConfigError(
            "a limit on the cost needs a price, and none is known",
            got=hosted.model,
            where=f"hosted {hosted.name}: price",
            fix="give price: {input: 0.15, output: 0.6} in USD a million tokens, or max_cost: null",
        )
    address = Address(
        hosted.name,
        hosted.base_url,
        _key(hosted),
        hosted.api_key_env,
        hosted.concurrency,
        hosted.timeout,
        hosted.retries,
    )
    cache = ReplyCache(cache_dir() / "hosted", hosted.base_url)
    return Endpoint(address, Ledger(price, hosted.max_cost), cache, progress)


def price_of(hosted: HostedConfig, config: TaskConfig) -> TokenPrice | None:
    """What the task file says, else what the price list has of the model (`api/MODEL/input`), else None."""
    from burnish.advice.prices import price_list

    if hosted.price is not None:
        return TokenPrice(hosted.price.input, hosted.price.output, hosted.price.cached_input)
    if hosted.own_machine or urlsplit(hosted.base_url).hostname in ("localhost", "127.0.0.1", "::1"):
        return None  # the list has what others charge
    listed = price_list(config.costs.prices, (), datetime.now(UTC).date())
    items = {kind: f"api/{hosted.model}/{kind}" for kind in ("input", "output", "cached_input")}
    if not (listed.has(items["input"]) and listed.has(items["output"])):
        return None
    found = {kind: listed.quote(item).price.value for kind, item in items.items() if listed.has(item)}
    return TokenPrice(found["input"], found["output"], found.get("cached_input"))


def hosted_system(
    hosted: HostedConfig,
    config: TaskConfig,
    task: Task,
    endpoint: Endpoint,
    *,
    shots: Shots | None,
    train: Sequence[Example],
) -> HostedSystem:
    """The system that asks a hosted model. train: tells how long answers are, for the estimate of the cost."""
    answers = [len(task.answer(example).content) for example in train[:SAMPLE]]
    return HostedSystem(
        hosted.name,
        task,
        endpoint,
        hosted.model,
        shots=shots,
        structured=hosted.structured == "auto" and config.generation.constrain,
        max_new_tokens=hosted.max_new_tokens or config.generation.max_new_tokens,
        temperature=config.generation.temperature,
        seed=config.seed,
        answer_tokens=sum(answers) / max(1, len(answers)) / CHARACTERS_PER_TOKEN,
        extra=hosted.extra,
    )


def _key(hosted: HostedConfig) -> str | None:
    """The key from the environment. Raises ConfigError; the key itself is in no message."""
    if hosted.api_key_env is None:
        return None
    key = os.environ.get(hosted.api_key_env, "").strip()
    if not key:
        raise ConfigError(
            "the environment variable with the key is not set",
            got=hosted.api_key_env,
            where=f"hosted {hosted.name}: api_key_env",
            fix=f"export {hosted.api_key_env}=…, or api_key_env: null for an endpoint without keys",
        )
    if not key.isascii() or not key.isprintable():
        raise ConfigError(
            "the key holds characters that no key has",
            where=f"environment variable {hosted.api_key_env}",
            fix="copy it again, without line breaks or quotes",
        )
    return key
