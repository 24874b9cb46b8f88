"""Adapters: attached, saved with what they need to be used rightly, loaded with checks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch

from burnish.errors import ModelError, first_line
from burnish.models.bottleneck import (
    attach_bottleneck,
    bottleneck_size,
    bottleneck_tensors,
    load_bottleneck,
    write_config,
)
from burnish.models.cache import keeps_state
from burnish.models.corrected import START_FILE
from burnish.models.fused_layers import fuse_layers
from burnish.models.load import Loaded, load_model
from burnish.models.lora_linear import fuse_lora, start_magnitudes
from burnish.models.lora_targets import not_for_lora
from burnish.models.quantised import Quantisation, fuse_lora_4bit, is_quantised
from burnish.models.reading import quiet_transformers
from burnish.models.text_part import beside_text, text_config
from burnish.models.virtual_tokens import hide_virtual_tokens, start_from_words
from burnish.models.whole import as_held, put, whole
from burnish.progress import Progress
from burnish.runs import MANIFEST, verify_folder

INFO_FILE = "burnish.json"
WEIGHTS_FILE = "adapter_model.safetensors"
Method = Literal["lora", "qlora", "dora", "ia3", "bottleneck", "prefix_tuning", "prompt_tuning", "full"]
METHODS: tuple[Method, ...] = get_args(Method)
QUANTISATION: dict[Method, Quantisation] = {"qlora": "nf4"}  # what the base is brought to; others leave it as it is


def method_words(method: Method, *, r: int, bottleneck: int, virtual_tokens: int) -> str:
    """What is trained, in a few words for people."""
    words: dict[Method, str] = {
        "lora": f"LoRA r={r}",
        "qlora": f"LoRA r={r} on 4-bit weights",
        "dora": f"DoRA r={r}",
        "ia3": "IA3",
        "bottleneck": f"bottleneck adapters of {bottleneck} units",
        "prefix_tuning": f"a prefix of {virtual_tokens} virtual tokens",
        "prompt_tuning": f"a prompt of {virtual_tokens} virtual tokens",
        "full": "all weights",
    }
    return words[method]


class AdapterInfo(NamedTuple):
    """What travels with an adapter, so that it is never served otherwise than it was trained.

    base_hash: of the weights it was trained on; system_prompt: the system turn of training ("" when it varies);
    prompt: "short" or "full"; task: the resolved task file; chat_template: the template of training;
    tools: those that all its examples shared (then a short prompt does not name them), empty where rows differ.
    method: how it was trained. merged: the adapter has been added into the weights. The folder holds a whole model
    when it is merged or the method is full. quantisation: of the base while training, None for none.
    """

    base_model: str
    base_hash: str
    dtype: str
    system_prompt: str
    prompt: str
    task: dict[str, Any]
    labels: tuple[str, ...]
    chat_template: str
    tools: tuple[Mapping[str, Any], ...] = ()
    method: Method = "lora"
    quantisation: Quantisation | None = None
    merged: bool = False

    @property
    def whole(self) -> bool:
        """Whether the folder holds all weights of a model rather than an adapter."""
        return self.merged or self.method == "full"


def attach_adapter(
    model: Any,
    *,
    method: Method = "lora",
    r: int = 16,
    alpha: float = 32,
    dropout: float = 0.0,
    target_modules: Sequence[str] | Literal["all-linear"] = "all-linear",
    rank_stabilised: bool = False,
    bottleneck: int = 64,
    virtual_tokens: int = 20,
    seed: int = 0,
) -> Any:
    """The model with what `method` trains; everything else is frozen.

    lora: W x + (alpha / r) B A x with B = 0 at the start (Hu et al. 2021); rank_stabilised: alpha / sqrt(r)
        (Kalajdzievski 2023). qlora: the same on a base that was loaded in 4 bits (Dettmers et al. 2023).
    dora: direction by LoRA, magnitude by a vector (Liu et al. 2024, equation 5).
    ia3: a factor for each key, value and feed-forward activation (Liu et al. 2022, section 3.3).
    bottleneck: two small layers behind every part of a decoder layer (Houlsby et al. 2019), `bottleneck` units wide.
    prefix_tuning, prompt_tuning: `virtual_tokens` keys and values a layer (Li and Liang 2021), or embeddings
        (Lester et al. 2021), in front of every row; the model is called as before (models/virtual_tokens.py).
    full: all weights of the model itself; nothing is attached.
    Of models that see or hear, the part that writes text is trained.
    target_modules: names of linear layers, or "all-linear" for all but the output head. r, alpha, dropout,
    target_modules and rank_stabilised are for lora, qlora and dora, target_modules for ia3 too.
    Raises ModelError when a name matches nothing, or when the base is not in the form that the method trains on.
    """
    in_4_bits = any(is_quantised(module) for module in model.modules())
    if in_4_bits != (method in QUANTISATION):
        raise ModelError(
            f"{method} trains on a base {'in full precision' if in_4_bits else 'in 4 bits'}",
            got="4-bit weights" if in_4_bits else "full weights",
            where="training.method",
            fix="load the model without quantise" if in_4_bits else 'load the model with quantise="nf4"',
        )
    if method == "full":
        model.requires_grad_(True)
        for part in beside_text(model).values():
            part.requires_grad_(False)
        return model
    with torch.random.fork_rng(), quiet_transformers():
        torch.manual_seed(seed)
        if method == "bottleneck":
            return attach_bottleneck(model, bottleneck)
        if method in ("prefix_tuning", "prompt_tuning"):
            return _with_virtual_tokens(model, method, virtual_tokens)
        return _with_layers(model, method, target_modules, r, alpha, dropout, rank_stabilised)


def _with_layers(
    model: Any,
    method: Method,
    target_modules: Sequence[str] | Literal["all-linear"],
    r: int,
    alpha: float,
    dropout: float,
    rank_stabilised: bool,
) -> Any:
    """lora, qlora, dora, ia3: peft's layers around linear layers."""
    from peft import IA3Config, LoraConfig, get_peft_model

    require_modules(model, target_modules)
    modules = target_modules if isinstance(target_modules, str) else list(target_modules)
    config: Any
    if method == "ia3":
        config = _ia3(IA3Config, model, modules)
    else:
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=r,
            lora_alpha=alpha,
            lora_dropout=dropout,
            target_modules=modules,
            exclude_modules=not_for_lora(model, target_modules),
            use_rslora=rank_stabilised,
            use_dora=method == "dora",
        )
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:  # experts know no dropout and no DoRA, say
        raise ModelError(
            f"peft cannot attach this adapter: {first_line(error)}",
            got=model.config.model_type,
            where="training",
            fix="change that setting, or name other layers in training.lora_target_modules",
        ) from error
    ready = _ready(adapted)
    start_magnitudes(ready)
    return ready


def require_modules(model: Any, targets: Sequence[str] | Literal["all-linear"]) -> None:
    """Nothing, when the model has modules of each of these names; else ModelError with the first that is none.

    peft itself passes over a name that matches nothing as long as another one does.
    """
    for target in () if targets == "all-linear" else targets:
        if not any(name == target or name.endswith(f".{target}") for name, _ in model.named_modules()):
            raise ModelError(
                "no module of the model has such a name",
                got=target,
                where="training.lora_target_modules",
                fix=f"use all-linear or some of: {', '.join(_linear_names(model))}",
            )


def _with_virtual_tokens(model: Any, method: Method, count: int) -> Any:
    from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model

    if keeps_state(model):
        raise ModelError(
            "the model keeps states in place of keys and values, so virtual tokens have no place in it",
            got=model.config.model_type,
            where="training.method",
            fix="use lora",
        )
    if method == "prefix_tuning":
        adapted = get_peft_model(model, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=count))
        start_from_words(adapted)
    else:  # words of the vocabulary to begin with (Lester et al. 2021, section 2.1)
        words = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=count, prompt_tuning_init="SAMPLE_VOCAB")
        adapted = get_peft_model(model, words)
    return _ready(adapted)


def _ready(adapted: Any) -> Any:
    """A peft model made to compute our way: LoRA layers as one operation, virtual tokens out of sight."""
    fuse_lora(adapted)
    if any(is_quantised(module) for module in adapted.modules()):
        fuse_lora_4bit(adapted)
    fuse_layers(adapted)
    hide_virtual_tokens(adapted)
    return adapted


def _linear_names(model: Any) -> list[str]:
    head = model.get_output_embeddings()
    linear = (
        name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and module is not head
    )
    return sorted({name.rsplit(".", 1)[-1] for name in linear})


def _ia3(config: Any, model: Any, modules: str | list[str]) -> Any:
    """The paper scales keys, values and the input of the layer that leads back from the feed-forward width.

    all-linear: these are found by name and shape: key and value projections by their names, and linear layers
    from the feed-forward width to the model's.
    """
    config_of_text = text_config(model)
    wide = int(getattr(config_of_text, "intermediate_size", None) or 4 * config_of_text.hidden_size)
    back = {
        name.rsplit(".", 1)[-1]
        for name, module in model.named_modules()
        if type(module) is torch.nn.Linear and module.in_features == wide != module.out_features
    }
    names = _linear_names(model)
    if modules == "all-linear":
        chosen = [name for name in names if name in back or name.lower().startswith(("k_", "v_", "key", "value"))]
    else:
        chosen = list(modules)
    return config(
        task_type="CAUSAL_LM",
        target_modules=chosen,
        exclude_modules=not_for_lora(model, chosen),
        feedforward_modules=[name for name in chosen if name in back],
    )


def adapter_state(model: Any) -> dict[str, torch.Tensor]:
    """What was trained, by name, in a fixed order: the adapter's tensors, or all weights of a model without one.

    Tensors held in parts by several processes are gathered: all of them must call this.
    """
    return {name: whole(tensor.detach()).cpu().contiguous() for name, tensor in sorted(_trained(model).items())}


def restore_adapter_state(model: Any, state: dict[str, torch.Tensor]) -> None:
    """Put tensors of `adapter_state` back. Raises ModelError when names do not fit."""
    tensors = _trained(model)
    odd = sorted(set(state) ^ set(tensors))
    if odd:
        raise ModelError("the saved tensors do not fit the model", got=odd[0])
    if _is_peft(model):
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(model, {name: as_held(state[name], held) for name, held in tensors.items()})
        return
    for name, tensor in tensors.items():
        put(tensor, state[name])


def _trained(model: Any) -> dict[str, torch.Tensor]:
    if _is_peft(model):
        from peft import get_peft_model_state_dict

        # "auto" would ask the model hub whether the base has other embeddings.
        return dict(get_peft_model_state_dict(model, save_embedding_layers=False))
    return dict(bottleneck_tensors(model) if bottleneck_size(model) else model.named_parameters())


def _is_peft(model: Any) -> bool:
    return hasattr(model, "peft_config")


def write_adapter(
    model: Any,
    tokenizer: Any,
    folder: Path,
    info: AdapterInfo,
    state: dict[str, torch.Tensor] | None = None,
    start: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write what was trained into an existing folder, with the chat template and AdapterInfo.

    An adapter: safetensors and its settings, as peft reads them. A fully trained model: a folder that transformers
    reads, tokenizer included. state: `adapter_state`, where it was gathered before. start: what a LoRA adapter began
    with, where that was not B = 0.
    """
    from safetensors.torch import save_file

    if info.whole:
        with quiet_transformers():
            try:
                model.generation_config.validate(strict=True)
            except ValueError:  # settings of sampling beside do_sample: false, as Llama 2 has them, are not saved
                model.generation_config.do_sample = True
            dtype = next(iter(state.values())).dtype if state else None  # before state is emptied by saving it
            model.save_pretrained(folder, state_dict=state)
            tokenizer.save_pretrained(folder)
        if dtype is not None:
            _say_dtype(folder / "config.json", dtype)
    else:
        save_file(state or adapter_state(model), folder / WEIGHTS_FILE, metadata={"format": "pt"})
        if start:
            save_file(dict(start), folder / START_FILE, metadata={"format": "pt"})
        if info.method == "bottleneck":
            write_config(model, folder, info.base_model)
        else:
            _write_peft_config(model.peft_config["default"].to_dict(), folder, info.base_model)
    (folder / "chat_template.jinja").write_text(info.chat_template, encoding="utf-8")
    write_info(folder, info)


def _say_dtype(file: Path, dtype: torch.dtype) -> None:
    """Into a config.json, the format of the weights beside it: transformers writes that of the model in memory."""
    config = json.loads(file.read_text(encoding="utf-8"))
    config["dtype"] = str(dtype).removeprefix("torch.")
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_info(folder: Path, info: AdapterInfo) -> None:
    """burnish.json of an adapter's folder."""
    about = json.dumps(info._asdict(), indent=2, ensure_ascii=False)
    (folder / INFO_FILE).write_text(about, encoding="utf-8")


def _write_peft_config(config: dict[str, Any], folder: Path, base_model: str) -> None:
    config["base_model_name_or_path"] = base_model
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    plain["inference_mode"] = True
    text = json.dumps(plain, indent=2, sort_keys=True, default=str)
    (folder / "adapter_config.json").write_text(text, encoding="utf-8")


def read_info(folder: Path) -> AdapterInfo:
    """AdapterInfo of a saved adapter. Raises ModelError when the folder holds none."""
    path = folder / INFO_FILE
    if not path.exists():
        raise ModelError("no adapter of Burnish is here", where=str(folder), fix="give the adapter folder of a run")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return AdapterInfo(**values | {"labels": tuple(values["labels"]), "tools": tuple(values.get("tools", ()))})
    except (ValueError, KeyError, TypeError):
        raise _damaged(folder, [INFO_FILE]) from None


def _damaged(folder: Path, files: Sequence[str]) -> ModelError:
    return ModelError(
        f"the trained folder is damaged ({', '.join(files)})",
        where=str(folder),
        fix="restore the run's folder, or train again",
    )


def load_adapter(loaded: Loaded, folder: Path) -> Loaded:
    """The base model with a saved adapter on it.

    Raises ModelError when the base is not the one that the adapter was trained on: other weights, or the same
    weights in another quantisation (peft #2321, #2105); or when a file of the adapter is missing or changed.
    """
    info = read_info(folder)
    if info.whole:
        raise ModelError("the folder holds a whole model, not an adapter", where=str(folder), fix="use load_tuned")
    if info.base_hash != loaded.base_hash:
        raise ModelError(
            "the adapter was trained on other base weights",
            got=f"{loaded.name} {loaded.base_hash[:12]}",
            where=str(folder),
            fix=f"load {info.base_model} with weights {info.base_hash[:12]}",
        )
    if info.quantisation != loaded.quantisation:
        raise ModelError(
            f"the adapter was trained on a base in {info.quantisation or 'full precision'}",
            got=loaded.quantisation or "full precision",
            where=str(folder),
            fix=f"load the base with quantise={info.quantisation!r}",
        )
    if (folder / MANIFEST).exists() and (damaged := verify_folder(folder)):
        raise _damaged(folder, damaged)
    if info.method == "bottleneck":
        return loaded._replace(model=load_bottleneck(loaded.model, folder).eval())
    with quiet_transformers():
        from peft import PeftModel  # brings bitsandbytes, which tells here of kernels that are not needed

        model = PeftModel.from_pretrained(loaded.model, str(folder), is_trainable=False)
    return loaded._replace(model=_ready(model).eval())


def load_tuned(folder: Path, *, base_dir: Path | None = None, progress: Progress | None = None) -> Loaded:
    """What a run trained, ready to use: its adapter on its base as it was in training, or its whole model.

    base_dir: what a relative path of the base is relative to. Raises ModelError.
    """
    info = read_info(folder)
    dtype: Any = info.dtype
    if info.whole:
        return load_model(str(folder), dtype=dtype, progress=progress)._replace(name=info.base_model)
    base = load_model(info.base_model, dtype=dtype, quantise=info.quantisation, base_dir=base_dir, progress=progress)
    return load_adapter(base, folder)
