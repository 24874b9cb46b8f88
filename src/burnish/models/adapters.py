"""Adapters: attached, saved with what they need to be used rightly, loaded with checks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from burnish.errors import ModelError
from burnish.models.load import Loaded, quiet_transformers
from burnish.models.lora_linear import fuse_lora

INFO_FILE = "burnish.json"


class AdapterInfo(NamedTuple):
    """What travels with an adapter, so that it is never served otherwise than it was trained.

    base_hash: of the weights it was trained on; system_prompt: the system turn of training ("" when it varies);
    prompt: "short" or "full"; task: the resolved task file; chat_template: the template of training;
    tools: those that all its examples shared (then a short prompt does not name them), empty where rows differ.
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


def attach_lora(
    model: Any,
    *,
    r: int,
    alpha: float,
    dropout: float,
    target_modules: Sequence[str] | Literal["all-linear"],
    seed: int,
) -> Any:
    """The model with LoRA matrices (Hu et al. 2021): W x + (alpha / r) B A x, with B = 0 at the start.

    target_modules: names of linear layers, or "all-linear" for all but the output head.
    Raises ModelError when a name matches nothing.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=target_modules if isinstance(target_modules, str) else list(target_modules),
    )
    with torch.random.fork_rng(), quiet_transformers():
        torch.manual_seed(seed)
        try:
            adapted = get_peft_model(model, config)
        except ValueError as error:
            linear = sorted(
                {n.rsplit(".", 1)[-1] for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
            )
            raise ModelError(
                "no module of the model has such a name",
                got=target_modules,
                where="training.lora_target_modules",
                fix=f"use all-linear or some of: {', '.join(linear)}",
            ) from error
    fuse_lora(adapted)
    return adapted


def adapter_state(model: Any) -> dict[str, torch.Tensor]:
    """The adapter's tensors by name, in a fixed order."""
    from peft import get_peft_model_state_dict

    # "auto" would ask the model hub whether the base has other embeddings.
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: state[name].detach().cpu().contiguous() for name in sorted(state)}


def restore_adapter_state(model: Any, state: dict[str, torch.Tensor]) -> None:
    """Put tensors of `adapter_state` back. Raises ModelError when names do not fit."""
    from peft import set_peft_model_state_dict

    outcome = set_peft_model_state_dict(model, state)
    unexpected = list(getattr(outcome, "unexpected_keys", []) or [])
    if unexpected:
        raise ModelError("the adapter's tensors do not fit the model", got=unexpected[0])


def write_adapter(model: Any, folder: Path, info: AdapterInfo) -> None:
    """Write safetensors, the adapter's settings, the chat template and AdapterInfo into an existing folder."""
    from safetensors.torch import save_file

    save_file(adapter_state(model), folder / "adapter_model.safetensors", metadata={"format": "pt"})
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
