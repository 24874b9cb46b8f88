"""Adapters: attached, saved with what they need to be used rightly, loaded with checks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch

from burnish.errors import ModelError
from burnish.models.load import Loaded, load_model, quiet_transformers
from burnish.models.lora_linear import fuse_lora
from burnish.models.whole import as_held, put, whole
from burnish.progress import Progress

INFO_FILE = "burnish.json"
Method = Literal["lora", "dora", "ia3", "full"]
METHODS: tuple[Method, ...] = get_args(Method)


class AdapterInfo(NamedTuple):
    """What travels with an adapter, so that it is never served otherwise than it was trained.

    base_hash: of the weights it was trained on; system_prompt: the system turn of training ("" when it varies);
    prompt: "short" or "full"; task: the resolved task file; chat_template: the template of training;
    tools: those that all its examples shared (then a short prompt does not name them), empty where rows differ.
    method: how it was trained; "full" means that the folder holds a whole model.
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


def attach_adapter(
    model: Any,
    *,
    method: Method = "lora",
    r: int = 16,
    alpha: float = 32,
    dropout: float = 0.0,
    target_modules: Sequence[str] | Literal["all-linear"] = "all-linear",
    rank_stabilised: bool = False,
    seed: int = 0,
) -> Any:
    """The model with what `method` trains; everything else is frozen.

    lora: W x + (alpha / r) B A x with B = 0 at the start (Hu et al. 2021); rank_stabilised: alpha / sqrt(r)
        (Kalajdzievski 2023). dora: direction by LoRA, magnitude by a vector (Liu et al. 2024, equation 5).
    ia3: a factor for each key, value and feed-forward activation (Liu et al. 2022, section 3.3).
    full: all weights of the model itself; nothing is attached.
    target_modules: names of linear layers, or "all-linear" for all but the output head. r, alpha, dropout and
    rank_stabilised are for lora and dora. Raises ModelError when a name matches nothing.
    """
    if method == "full":
        return model.requires_grad_(True)
    from peft import IA3Config, LoraConfig, get_peft_model

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
            use_rslora=rank_stabilised,
            use_dora=method == "dora",
        )
    with torch.random.fork_rng(), quiet_transformers():
        torch.manual_seed(seed)
        try:
            adapted = get_peft_model(model, config)
        except ValueError as error:
            raise ModelError(
                "no module of the model has such a name",
                got=target_modules,
                where="training.lora_target_modules",
                fix=f"use all-linear or some of: {', '.join(_linear_names(model))}",
            ) from error
    fuse_lora(adapted)
    return adapted


def _linear_names(model: Any) -> list[str]:
    head = model.get_output_embeddings()
    linear = (
        name for name, module in model.named_modules() if type(module) is torch.nn.Linear and module is not head
    )
    return sorted({name.rsplit(".", 1)[-1] for name in linear})


def _ia3(config: Any, model: Any, modules: str | list[str]) -> Any:
    """The paper scales keys, values and the input of the layer that leads back from the feed-forward width.

    all-linear: these are found by name and shape: key and value projections by their names, and linear layers
    from the feed-forward width to the model's.
    """
    wide = int(getattr(model.config, "intermediate_size", None) or 4 * model.config.hidden_size)
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
        feedforward_modules=[name for name in chosen if name in back],
    )


def adapter_state(model: Any) -> dict[str, torch.Tensor]:
    """What was trained, by name, in a fixed order: the adapter's tensors, or all weights of a model without one.

    Tensors held in parts by several processes are gathered: all of them must call this.
    """
    if not _is_adapted(model):
        return {name: whole(tensor.detach()).cpu().contiguous() for name, tensor in sorted(model.named_parameters())}
    from peft import get_peft_model_state_dict

    # "auto" would ask the model hub whether the base has other embeddings.
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: whole(state[name].detach()).cpu().contiguous() for name in sorted(state)}


def restore_adapter_state(model: Any, state: dict[str, torch.Tensor]) -> None:
    """Put tensors of `adapter_state` back. Raises ModelError when names do not fit."""
    if _is_adapted(model):
        from peft import get_peft_model_state_dict, set_peft_model_state_dict

        held = get_peft_model_state_dict(model, save_embedding_layers=False)
        state = {name: as_held(value, held[name]) if name in held else value for name, value in state.items()}
        unexpected = list(getattr(set_peft_model_state_dict(model, state), "unexpected_keys", []) or [])
    else:
        weights = dict(model.named_parameters())
        unexpected = sorted(set(state) ^ set(weights))
        for name in set(state) & set(weights):
            put(weights[name], state[name])
    if unexpected:
        raise ModelError("the saved tensors do not fit the model", got=unexpected[0])


def _is_adapted(model: Any) -> bool:
    return hasattr(model, "peft_config")


def write_adapter(
    model: Any, tokenizer: Any, folder: Path, info: AdapterInfo, state: dict[str, torch.Tensor] | None = None
) -> None:
    """Write what was trained into an existing folder, with the chat template and AdapterInfo.

    An adapter: safetensors and its settings, as peft reads them. A fully trained model: a folder that transformers
    reads, tokenizer included. state: `adapter_state`, where it was gathered before.
    """
    from safetensors.torch import save_file

    if info.method == "full":
        with quiet_transformers():
            model.save_pretrained(folder, state_dict=state)
            tokenizer.save_pretrained(folder)
    else:
        save_file(state or adapter_state(model), folder / "adapter_model.safetensors", metadata={"format": "pt"})
        config = model.peft_config["default"].to_dict()
        config["base_model_name_or_path"] = info.base_model
        plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
        plain["inference_mode"] = True
        text = json.dumps(plain, indent=2, sort_keys=True, default=str)
        (folder / "adapter_config.json").write_text(text, encoding="utf-8")
    (folder / "chat_template.jinja").write_text(info.chat_template, encoding="utf-8")
    about = json.dumps(info._asdict(), indent=2, ensure_ascii=False)
    (folder / INFO_FILE).write_text(about, encoding="utf-8")


def read_info(folder: Path) -> AdapterInfo:
    """AdapterInfo of a saved adapter. Raises ModelError when the folder holds none."""
    path = folder / INFO_FILE
    if not path.exists():
        raise ModelError("no adapter of Burnish is here", where=str(folder), fix="give the adapter folder of a run")
    values = json.loads(path.read_text(encoding="utf-8"))
    return AdapterInfo(**values | {"labels": tuple(values["labels"]), "tools": tuple(values.get("tools", ()))})


def load_adapter(loaded: Loaded, folder: Path) -> Loaded:
    """The base model with a saved adapter on it.

    Raises ModelError when the base's weights are not those that the adapter was trained on.
    """
    from peft import PeftModel

    info = read_info(folder)
    if info.base_hash != loaded.base_hash:
        raise ModelError(
            "the adapter was trained on other base weights",
            got=f"{loaded.name} {loaded.base_hash[:12]}",
            where=str(folder),
            fix=f"load {info.base_model} with weights {info.base_hash[:12]}",
        )
    with quiet_transformers():
        model = PeftModel.from_pretrained(loaded.model, str(folder), is_trainable=False)
    fuse_lora(model)
    model.eval()
    return loaded._replace(model=model)


def load_tuned(folder: Path, *, base_dir: Path | None = None, progress: Progress | None = None) -> Loaded:
    """What a run trained, ready to use: its adapter on its base, or its whole model.

    base_dir: what a relative path of the base is relative to. Raises ModelError.
    """
    info = read_info(folder)
    dtype: Any = info.dtype
    if info.method == "full":
        return load_model(str(folder), dtype=dtype, progress=progress)._replace(name=info.base_model)
    return load_adapter(load_model(info.base_model, dtype=dtype, base_dir=base_dir, progress=progress), folder)
