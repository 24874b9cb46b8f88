"""Settings of the baselines: prompts, shots, vectors of texts, retrieval."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from burnish.config.base import Settings


class PromptConfig(Settings):
    """What may be said to models that are not tuned: alternatives tried on validation examples, the best kept."""

    instructions: list[Annotated[str, Field(min_length=1)]] = Field(
        default=[], description="Other wordings of the instruction to try beside it."
    )
    eval_examples: int = Field(
        default=50, ge=1, description="Validation examples on which ways of prompting are compared."
    )

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        return {"instructions": value} if isinstance(value, list | tuple) else value


ShotCount = Annotated[int, Field(ge=1, le=100)]
ShotSelection = Literal["nearest", "fixed", "embedding"]


class FewShotConfig(Settings):
    """The few_shot baseline. Of several values the best on validation is used."""

    k: ShotCount | Annotated[list[ShotCount], Field(min_length=1)] | Literal["auto"] = Field(
        default=5, description="Examples in the prompt; of a list the best is used; auto: of 1, 3, 5 and 10."
    )
    select: ShotSelection | Annotated[list[ShotSelection], Field(min_length=1)] | Literal["auto"] = Field(
        default="nearest",
        description="nearest: by BM25 for every input; embedding: by meaning; fixed: alike for all; auto: the best.",
    )


class EmbeddingProbeConfig(Settings):
    """The embedding_probe baseline: logistic regression on frozen vectors."""

    model: str = Field(
        default="all-minilm-l6-v2",
        min_length=1,
        description="Embedding model: catalogue name, folder, hub id; base: the base model's own hidden states.",
    )


PassageCount = Annotated[int, Field(ge=1, le=50)]


class RetrievalConfig(Settings):
    """Documents to answer from: for the rag baseline and for training.context."""

    documents: list[Path] = Field(
        default=[], description="Files or folders: text, Markdown, HTML, PDF, or rows with id, title and text."
    )
    k: PassageCount | Annotated[list[PassageCount], Field(min_length=1)] | Literal["auto"] = Field(
        default="auto", description="Passages in the prompt; of a list the best is used; auto: of 1, 2, 3 and 5."
    )
    passage_words: int = Field(default=150, ge=10, le=2000, description="Longest passage in words.")
    overlap_words: int = Field(
        default=30, ge=0, le=1000, description="Words that neighbouring passages share at most."
    )
    model: str = Field(
        default="all-minilm-l6-v2", min_length=1, description="Embedding model: catalogue name, folder or hub id."
    )

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        return {"documents": value} if isinstance(value, str | Path | list) else value

    @field_validator("documents", mode="before")
    @classmethod
    def _one_path(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | Path) else value
