"""Settings of the baselines that work with vectors of texts."""

from __future__ import annotations

from pydantic import Field

from burnish.config.base import Settings


class EmbeddingProbeConfig(Settings):
    """The embedding_probe baseline: logistic regression on frozen vectors."""

    model: str = Field(
        default="all-minilm-l6-v2",
        min_length=1,
        description="Embedding model: catalogue name, folder, hub id; base: the base model's own hidden states.",
    )
