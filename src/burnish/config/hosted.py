"""The settings of hosted models: where they are, what they may cost."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from burnish.config.base import Settings

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class HostedPrice(Settings):
    """USD for a million tokens."""

    input: float = Field(ge=0, description="Of prompts.")
    output: float = Field(ge=0, description="Of answers.")
    cached_input: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="Of prompts that the endpoint has cached (null: as others)."
    )


class HostedConfig(Settings):
    """A model behind an endpoint that speaks OpenAI's chat completions."""

    name: str = Field(pattern=NAME, description="Its name as a system: in baselines, tables and files.")
    model: str = Field(min_length=1, description="The name by which the endpoint knows it.")
    base_url: str = Field(
        default="https://api.openai.com/v1",
        min_length=1,
        description="Address of the API, without /chat/completions.",
    )
    api_key_env: str | None = Field(
        default="OPENAI_API_KEY", description="Environment variable with the key (null: the endpoint takes none)."
    )
    prompt: Literal["prompt", "few_shot"] = Field(
        default="prompt", description="prompt: the instruction; few_shot: with examples, as few_shot says."
    )
    concurrency: int = Field(default=4, ge=1, le=256, description="Requests at once.")
    timeout: float = Field(default=60.0, gt=0, description="Most seconds of one request.")
    retries: int = Field(default=5, ge=0, le=50, description="Further tries of a request that was not answered.")
    max_cost: Annotated[float, Field(ge=0)] | None = Field(
        default=1.0, description="Most USD that its answers in a run may cost (null: any)."
    )
    price: HostedPrice | None = Field(default=None, description="USD a million tokens (null: as in the price list).")
    max_new_tokens: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Longest answer in tokens, thinking included (null: generation.max_new_tokens)."
    )
    structured: Literal["auto", "off"] = Field(
        default="auto", description="auto: the endpoint is asked to hold answers to the schema, where it can."
    )
    own_machine: bool = Field(
        default=False, description="Whether the endpoint is one's own, so that private inputs may go there."
    )
    extra: dict[str, Any] = Field(
        default={}, description="Further fields of every request, as the endpoint has them."
    )
