"""The shape of a decoder-only transformer: what its size, memory and arithmetic follow from, without its weights."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from burnish.errors import ModelError, first_line


class Linear(NamedTuple):
    """A linear layer of one decoder layer; bias: whether it has one."""

    name: str
    inputs: int
    outputs: int
    bias: bool = False

    @property
    def weights(self) -> int:
        """Numbers in its matrix."""
        return self.inputs * self.outputs


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A pre- or post-norm transformer with RMSNorm, rotary positions and a gated feed-forward part.

    hidden, intermediate: widths of the residual stream and of the feed-forward part; heads, kv_heads: query heads,
    and heads of keys and values (Ainslie et al. 2023); tied: output head and embeddings are one matrix.
    qkv_bias, out_bias, mlp_bias: which linear layers have biases. merged: query, key and value are one linear layer,
    gate and up another. norms: RMSNorms of the residual stream in a layer. head_norms: normalised queries and keys,
    with weights of one head's width, or of all heads'.
    """

    name: str
    family: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool
    context: int = 2**31
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    merged: bool = False
    norms: int = 2
    head_norms: Literal["none", "head", "all"] = "none"

    @property
    def query_width(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def key_width(self) -> int:
        """Width of all key heads together, which is that of the values."""
        return self.kv_heads * self.head_dim

    @property
    def linears(self) -> tuple[Linear, ...]:
        """The linear layers of one decoder layer, the output head left out."""
        D, Q, K, F = self.hidden, self.query_width, self.key_width, self.intermediate
        out = Linear("o_proj", Q, D, self.out_bias)
        down = Linear("down_proj", F, D, self.mlp_bias)
        if self.merged:
            into = Linear("qkv_proj", D, Q + 2 * K, self.qkv_bias), Linear("gate_up_proj", D, 2 * F, self.mlp_bias)
            return into[0], out, into[1], down
        return (
            Linear("q_proj", D, Q, self.qkv_bias),
            Linear("k_proj", D, K, self.qkv_bias),
            Linear("v_proj", D, K, self.qkv_bias),
            out,
            Linear("gate_proj", D, F, self.mlp_bias),
            Linear("up_proj", D, F, self.mlp_bias),
            down,
        )

    @property
    def linear_weights(self) -> int:
        """Numbers in the matrices of all decoder layers: what is multiplied for every token, and what QLoRA packs."""
        return self.layers * sum(linear.weights for linear in self.linears)

    @property
    def parameters(self) -> int:
        """All parameters, shared ones once."""
        biases = sum(linear.outputs for linear in self.linears if linear.bias)
        per_head = {"none": 0, "head": 2 * self.head_dim, "all": self.query_width + self.key_width}[self.head_norms]
        small = self.layers * (biases + self.norms * self.hidden + per_head) + self.hidden
        return self.linear_weights + small + self.vocabulary * self.hidden * (1 if self.tied else 2)

    def chosen(self, modules: tuple[str, ...] | Literal["all-linear"]) -> tuple[Linear, ...]:
        """The linear layers with these names. Raises ModelError when a name matches nothing."""
        if modules == "all-linear":
            return self.linears
        names = [linear.name for linear in self.linears]
        for module in modules:
            if module not in names:
                raise ModelError(
                    "no module of the model has such a name",
                    got=module,
                    where="training.lora_target_modules",
                    fix=f"use all-linear or some of: {', '.join(names)}",
                )
        return tuple(linear for linear in self.linears if linear.name in modules)


class Family(NamedTuple):
    """How a family of models differs from Llama. biases: of (query, key, value), output, feed-forward layers; None:
    as its config says."""

    biases: tuple[bool, bool, bool] | None = None
    merged: bool = False
    norms: int = 2
    head_norms: Literal["none", "head", "all"] = "none"


_NO_BIAS = (False, False, False)
FAMILIES: Mapping[str, Family] = {
    "llama": Family(),
    "mistral": Family(_NO_BIAS),
    "qwen2": Family((True, False, False)),
    "qwen3": Family(head_norms="head"),
    "smollm3": Family(),
    "phi3": Family(_NO_BIAS, merged=True),
    "granite": Family(),
    "olmo2": Family(head_norms="all"),
    "gemma": Family(),
    "gemma2": Family(norms=4),
    "gemma3_text": Family(norms=4, head_norms="head"),
}


def shape_from_config(config: Any, name: str) -> ModelShape:
    """The shape that a transformers config, or the mapping of a config.json, describes.

    Raises ModelError for an architecture whose arithmetic is not known here (a mixture of experts, an encoder), and
    when a number is missing.
    """

    def read(key: str, default: Any = None) -> Any:
        return config.get(key, default) if isinstance(config, Mapping) else getattr(config, key, default)

    family = str(read("model_type", "?"))
    if family not in FAMILIES:
        raise ModelError(
            "memory and time cannot be estimated for this architecture",
            got=family,
            where=name,
            fix=f"it is known for {', '.join(FAMILIES)}; name a model of similar size instead",
        )
    kind = FAMILIES[family]
    needed = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
    missing = [key for key in needed if not read(key)]
    if missing:
        raise ModelError("the model's config.json lacks a number", got=missing[0], where=name, fix="add it")
    hidden, layers, heads, intermediate, vocabulary = (int(read(key)) for key in needed)
    attention, mlp = bool(read("attention_bias", False)), bool(read("mlp_bias", False))
    biases = (attention, attention, mlp) if kind.biases is None else kind.biases
    tied_by_default = family.startswith("gemma") or family == "smollm3"  # as transformers has it
    tied = read("tie_word_embeddings")
    return ModelShape(
        name=name,
        family=family,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=int(read("num_key_value_heads") or heads),
        head_dim=int(read("head_dim") or hidden // heads),
        intermediate=intermediate,
        vocabulary=vocabulary,
        tied=tied_by_default if tied is None else bool(tied),
        context=int(read("max_position_embeddings") or 2**31),
        qkv_bias=biases[0],
        out_bias=biases[1],
        mlp_bias=biases[2],
        merged=kind.merged,
        norms=kind.norms,
        head_norms=kind.head_norms,
    )


# Public models by name: family, hidden, layers, heads, kv_heads, head_dim, intermediate, vocabulary, tied, context,
# from the config.json of each.
_PUBLIC: Mapping[str, tuple[str, int, int, int, int, int, int, int, bool, int]] = {
    "smollm2-135m": ("llama", 576, 30, 9, 3, 64, 1536, 49152, True, 8192),
    "smollm2-360m": ("llama", 960, 32, 15, 5, 64, 2560, 49152, True, 8192),
    "smollm2-1.7b": ("llama", 2048, 24, 32, 32, 64, 8192, 49152, True, 8192),
    "smollm3-3b": ("smollm3", 2048, 36, 16, 4, 128, 11008, 128256, True, 65536),
    "tinyllama-1.1b": ("llama", 2048, 22, 32, 4, 64, 5632, 32000, False, 2048),
    "llama-2-7b": ("llama", 4096, 32, 32, 32, 128, 11008, 32000, False, 4096),
    "llama-2-13b": ("llama", 5120, 40, 40, 40, 128, 13824, 32000, False, 4096),
    "llama-2-70b": ("llama", 8192, 80, 64, 8, 128, 28672, 32000, False, 4096),
    "llama-3.1-8b": ("llama", 4096, 32, 32, 8, 128, 14336, 128256, False, 131072),
    "llama-3.1-70b": ("llama", 8192, 80, 64, 8, 128, 28672, 128256, False, 131072),
    "llama-3.2-1b": ("llama", 2048, 16, 32, 8, 64, 8192, 128256, True, 131072),
    "llama-3.2-3b": ("llama", 3072, 28, 24, 8, 128, 8192, 128256, True, 131072),
    "mistral-7b": ("mistral", 4096, 32, 32, 8, 128, 14336, 32768, False, 32768),
    "qwen2.5-0.5b": ("qwen2", 896, 24, 14, 2, 64, 4864, 151936, True, 32768),
    "qwen2.5-1.5b": ("qwen2", 1536, 28, 12, 2, 128, 8960, 151936, True, 32768),
    "qwen2.5-3b": ("qwen2", 2048, 36, 16, 2, 128, 11008, 151936, True, 32768),
    "qwen2.5-7b": ("qwen2", 3584, 28, 28, 4, 128, 18944, 152064, False, 32768),
    "qwen2.5-14b": ("qwen2", 5120, 48, 40, 8, 128, 13824, 152064, False, 32768),
    "qwen2.5-32b": ("qwen2", 5120, 64, 40, 8, 128, 27648, 152064, False, 32768),
    "qwen2.5-72b": ("qwen2", 8192, 80, 64, 8, 128, 29568, 152064, False, 32768),
    "qwen3-0.6b": ("qwen3", 1024, 28, 16, 8, 128, 3072, 151936, True, 40960),
    "qwen3-1.7b": ("qwen3", 2048, 28, 16, 8, 128, 6144, 151936, True, 40960),
    "qwen3-4b": ("qwen3", 2560, 36, 32, 8, 128, 9728, 151936, True, 40960),
    "qwen3-8b": ("qwen3", 4096, 36, 32, 8, 128, 12288, 151936, False, 40960),
    "qwen3-14b": ("qwen3", 5120, 40, 40, 8, 128, 17408, 151936, False, 40960),
    "qwen3-32b": ("qwen3", 5120, 64, 64, 8, 128, 25600, 151936, False, 40960),
    "phi-3.5-mini": ("phi3", 3072, 32, 32, 32, 96, 8192, 32064, False, 131072),
    "phi-4": ("phi3", 5120, 40, 40, 10, 128, 17920, 100352, False, 16384),
    "gemma-2-2b": ("gemma2", 2304, 26, 8, 4, 256, 9216, 256000, True, 8192),
    "gemma-2-9b": ("gemma2", 3584, 42, 16, 8, 256, 14336, 256000, True, 8192),
}
# How releases of the same shape are called.
_SUFFIXES = (
    "-instruct",
    "-chat",
    "-hf",
    "-it",
    "-base",
    "-v0.3",
    "-v0.2",
    "-v0.1",
    "-bnb-4bit",
    "-2507",
    "-chat-v1.0",
)


def known_shapes() -> tuple[str, ...]:
    """Names that `public_shape` understands."""
    return tuple(_PUBLIC)


def public_shape(name: str) -> ModelShape | None:
    """The shape of a common public model: llama-3.1-8b, meta-llama/Llama-3.1-8B-Instruct; None for others."""
    plain = name.rpartition("/")[2].lower().replace("meta-llama", "llama")
    while True:
        if plain in _PUBLIC:
            return _public(name, *_PUBLIC[plain])
        suffix = next((suffix for suffix in _SUFFIXES if plain.endswith(suffix)), None)
        if suffix is None:
            return None
        plain = plain.removesuffix(suffix)


def _public(
    name: str,
    family: str,
    hidden: int,
    layers: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    intermediate: int,
    vocabulary: int,
    tied: bool,
    context: int,
) -> ModelShape:
    kind = FAMILIES[family]
    return ModelShape(
        name=name,
        family=family,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=intermediate,
        vocabulary=vocabulary,
        tied=tied,
        context=context,
        qkv_bias=bool(kind.biases and kind.biases[0]),
        merged=kind.merged,
        norms=kind.norms,
        head_norms=kind.head_norms,
    )


def unknown_shape(name: str) -> ModelError:
    """What to say when a model is neither here nor known."""
    near = difflib.get_close_matches(name.rpartition("/")[2].lower(), _PUBLIC, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return ModelError(
        "the model's shape is not known",
        got=name,
        where="--model",
        fix=f"{hint}give a folder with a config.json, a model that is downloaded, or one of: {', '.join(_PUBLIC)}",
    )


def model_shape(name: str, base_dir: Path | None = None) -> ModelShape:
    """The shape of whatever a `model:` setting names, from its config.json or by name; no weights are read.

    Raises ModelError.
    """
    from burnish.models.catalog import resolve

    known = public_shape(name)
    try:
        source = resolve(name, base_dir)
    except ModelError:
        if known is None:
            raise unknown_shape(name) from None
        return known
    if source.kind in ("folder", "gguf") and source.path is not None:
        return shape_from_config(_config(source.path), name)
    if known is not None:
        return known
    return shape_from_config(_config(name), name)


def _config(place: Path | str) -> Any:
    """The transformers config of a folder, a GGUF file or a model that the hub's cache holds."""
    from transformers import AutoConfig

    from burnish.models.reading import quiet_transformers

    options: dict[str, Any] = {"trust_remote_code": False}
    folder: Path | str = place
    if isinstance(place, str):
        options["local_files_only"] = True
    elif place.suffix == ".gguf":
        folder, options["gguf_file"] = place.parent, place.name
    try:
        with quiet_transformers():
            return AutoConfig.from_pretrained(folder, **options)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(place, str):
            raise unknown_shape(place) from error
        reason = first_line(error) or type(error).__name__
        raise ModelError(
            f"the model's config cannot be read: {reason}", got=str(place), where="model", fix="mend its config.json"
        ) from error
