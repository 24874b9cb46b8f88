"""The engine on fake CUDA tensors: `main` prints, as JSON, what each scenario did.

For a process of its own, which has loaded the device of cuda_stub.cpp before it imports this (and torch). Fake
tensors have shapes, number formats and devices, so an operation that mixes devices raises as it would on a GPU, but
no values: where the engine reads one it gets 0, and the reading is counted, since on a GPU it waits for all work.
"""

from __future__ import annotations

import json
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from burnish.models import compiled, gpu_attention, layout, rms_norm, token_losses
from burnish.models.attention import Way, choose_attention, way_of
from burnish.models.embed import hidden_states
from burnish.models.generate import Engine, Request
from burnish.models.load import Loaded
from burnish.models.score import loglikelihoods
from burnish.progress import Silent
from burnish.training import split_weights
from burnish.training.objectives.make import make_objective
from burnish.training.optimizers import make_optimizer
from burnish.training.parallel import ALONE
from burnish.training.reference import with_reference
from burnish.training.scaling import LossScale
from burnish.training.step import Stepper
from helpers_training import lora_model, pairs, rows, settings
from tiny import tiny_loaded

_MOVES = {"_to_copy", "copy_", "_pin_memory", "lift_fresh"}


class Watch(TorchDispatchMode):
    """Lies over the fake mode: refuses what a GPU would do by a hidden copy, answers what reads a value with 0."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []  # places that read a value
        self.launches = 0  # operations on the device

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        name = function.overloadpacket.__name__
        devices = {tensor.device.type for tensor in tensors if tensor.dim()}
        if len(devices) > 1 and name not in _MOVES:
            raise RuntimeError(f"{name} mixes devices: {sorted(devices)}")
        on_gpu = any(tensor.device.type == "cuda" for tensor in tensors)
        if name in ("_local_scalar_dense", "allclose"):
            self.waits += [_place()] if on_gpu else []
            # A question is answered with yes, and what is tried is found equal: its error is 0.
            asked = name == "allclose" or tensors[0].dtype == torch.bool
            return True if asked else 0.0 if tensors[0].is_floating_point() else 0
        result = function(*args, **kwargs or {})
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.launches += on_gpu or any(tensor.device.type == "cuda" for tensor in made)
        if name in _MOVES and {t.device.type for t in [*made, *tensors]} == {"cuda", "cpu"}:
            self.waits += [_place()] if name != "copy_" and made[0].device.type == "cpu" else []
        return result


def _place() -> str:
    """The nearest line of the package above."""
    for frame in reversed(traceback.extract_stack()):
        if "/burnish/" in frame.filename:
            return f"{frame.filename.rsplit('/burnish/', 1)[1]}:{frame.name}"
    return "elsewhere"


def on_gpu(model: Any) -> Any:
    """All of the model's tensors as fake ones on the GPU; those that several modules hold stay one."""
    known: dict[int, torch.Tensor] = {}
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for name, held in table.items():
                if held is not None and id(held) not in known:
                    fake = torch.empty(held.shape, dtype=held.dtype, device="cuda")
                    trained = isinstance(held, torch.nn.Parameter)
                    known[id(held)] = torch.nn.Parameter(fake, held.requires_grad) if trained else fake
                table[name] = None if held is None else known[id(held)]
    return model


def flex_stand_in(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, block_mask: Any, scale: float, enable_gqa: bool
) -> torch.Tensor:
    """What flex attention computes, by a mask over all pairs: nothing is compiled for a GPU that is not there."""
    parts = [part for part in block_mask.as_tuple() if isinstance(part, torch.Tensor)]
    assert {part.device.type for part in parts} == {"cuda"}
    places = torch.arange(query.shape[2], device=query.device)
    seen = block_mask.mask_mod(None, None, places[:, None], places)
    return torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=seen, scale=scale, enable_gqa=enable_gqa
    )


def model_of(
    dtype: torch.dtype = torch.float32, head: bool = False, way: Way | None = None, **changes: Any
) -> tuple[Any, Any]:
    """A tiny model on the fake GPU with what the settings train, prepared as load_model does there."""
    with _disable_current_modes():
        model, chat = lora_model(settings(**changes), dtype=dtype)
    base = model.base_model if hasattr(model, "peft_config") else model
    if way_of(model) != "sdpa":  # with virtual tokens it has to be
        choose_attention(base, "cuda", way)
    if head:
        model.get_output_embeddings().weight.requires_grad_(True)
    return on_gpu(model).train(), chat


def stepper_of(model: Any, objective: str = "sft", scale: Any = None, budget: int = 10**6) -> Stepper:
    optimizer = make_optimizer(model.named_parameters(), kind="adamw", rate=1e-3, weight_decay=0.0)
    assert optimizer.param_groups[0]["fused"]
    return Stepper(
        model, optimizer, make_objective(objective), budget=budget, max_grad_norm=1.0, share=True, device="cuda",
        group=ALONE, progress=Silent(), scale=scale,
    )  # fmt: skip


def take_step(
    watch: Watch, plan: str = "Packed", budget: int = 10**6, scale: Any = None, alike: bool = True, **options: Any
) -> None:
    """One step of supervised fine-tuning, whose attention is given such a plan; rows are alike or share nothing.

    What building the model, its trial passes and the first step did is not counted.
    """
    model, chat = model_of(**options)
    if options.get("gradient_checkpointing"):
        model.activation_checkpointing_enable()
    stepper = stepper_of(model, scale=scale, budget=budget)
    items = rows(chat, 8) if alike else rows(chat, 8)[:1]
    plans = set()
    real = stepper._token_losses._inputs

    def watched(batch: layout.Batch) -> dict[str, Any]:
        inputs = real(batch)
        plans.add(type(inputs.get("plan")).__name__)
        return inputs

    stepper._token_losses._inputs = watched
    two_steps(watch, stepper, items)
    assert plans == {plan}, plans


def two_steps(watch: Watch, stepper: Stepper, items: list[Any]) -> None:
    """The first makes the optimizer's state; the second is watched."""
    stepper.step(0, items, 1e-3)
    watch.waits.clear()
    watch.launches = 0
    stepper.step(1, items, 1e-3)


def masked(watch: Watch) -> None:
    model, chat = model_of(way="sdpa")
    stepper = stepper_of(model)
    stepper._token_losses.how = "masked"  # trial passes tell nothing here
    two_steps(watch, stepper, rows(chat, 8))


def unfused_head(watch: Watch) -> None:
    model, chat = model_of()
    stepper = stepper_of(model)
    stepper._token_losses.fused = False
    stepper.step(0, rows(chat, 8), 1e-3)


def preferences(watch: Watch, name: str) -> None:
    model, chat = model_of()
    items = pairs(chat, 6)
    objective = make_objective(name)
    if objective.needs_reference:
        with tempfile.TemporaryDirectory() as folder:
            items = with_reference(
                items, model, Path(folder) / "reference.json", tokens_per_batch=512, share=True, group=ALONE,
                progress=Silent(),
            )  # fmt: skip
    stepper_of(model, name).step(0, items, 1e-3)


def loaded_of() -> tuple[Loaded, Any]:
    model, chat = model_of()
    return Loaded(model.eval(), chat.tokenizer, "tiny", "0" * 64, "cuda", model.dtype), chat


def generate(watch: Watch) -> None:
    loaded, chat = loaded_of()
    prompts = [item.sequences[0].tokens for item in rows(chat, 8)]
    requests = [Request(tokens, 4) for tokens in prompts]
    with torch.no_grad():  # fake tensors know no inference mode
        assert len(Engine.generate.__wrapped__(Engine(loaded, chat), requests)) == 8


def score(watch: Watch) -> None:
    loaded, _ = loaded_of()
    assert len(loglikelihoods(loaded, [((3, 4, 5), (6, 7)), ((3, 4), (8,))])) == 2


def embed(watch: Watch) -> None:
    with _disable_current_modes():
        loaded, _ = tiny_loaded(attention="sdpa")
    loaded = loaded._replace(model=on_gpu(loaded.model), device="cuda")
    real = torch.inference_mode, torch.Tensor.numpy
    torch.inference_mode = lambda mode=True: torch.set_grad_enabled(not mode)
    torch.Tensor.numpy = lambda tensor: tensor
    try:
        assert hidden_states(loaded)._forward([[3, 4, 5], [6]]).shape == (2, 32)
    finally:
        torch.inference_mode, torch.Tensor.numpy = real


def planted_tensor(watch: Watch) -> None:
    """Labels' places that stay on the CPU: PyTorch would copy them in silence, once a pass."""
    real = layout._batch

    def forgetful(*arguments: Any) -> layout.Batch:
        batch = real(*arguments)
        return batch._replace(places_N=batch.places_N.to("cpu"))

    layout._batch = forgetful
    try:
        take_step(watch)
    finally:
        layout._batch = real


def planted_wait(watch: Watch) -> None:
    """A value read in every norm."""
    real = rms_norm._RmsNorm.forward

    def curious(ctx: Any, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        float(x.sum())
        return real(ctx, x, *rest)

    rms_norm._RmsNorm.forward = staticmethod(curious)
    try:
        take_step(watch)
    finally:
        rms_norm._RmsNorm.forward = staticmethod(real)


SCENARIOS: dict[str, Callable[[Watch], None]] = {
    "sft": take_step,
    "rows": lambda watch: take_step(watch, "Rows", alike=False),
    "blocks": lambda watch: take_step(watch, "Plan", way="blocks"),
    "masked": masked,
    "several passes": lambda watch: take_step(watch, budget=96),
    "bfloat16": lambda watch: take_step(watch, dtype=torch.bfloat16),
    "float16": lambda watch: take_step(watch, dtype=torch.float16, scale=LossScale(1024.0, 0, 0)),
    "checkpointing": lambda watch: take_step(watch, gradient_checkpointing=True),
    "dropout": lambda watch: take_step(watch, lora_dropout=0.1),
    "all weights in bfloat16": lambda watch: take_step(watch, method="full", dtype=torch.bfloat16),
    "and in several passes": lambda watch: take_step(watch, method="full", dtype=torch.bfloat16, budget=96),
    "all weights in float16": lambda watch: take_step(
        watch, method="full", dtype=torch.float16, scale=LossScale(1024.0, 0, 0)
    ),
    "trained head": lambda watch: take_step(watch, head=True),
    "unfused head": unfused_head,
    **{method: lambda watch, method=method: take_step(watch, method=method)
       for method in ("full", "dora", "ia3", "bottleneck")},
    **{method: lambda watch, method=method: take_step(watch, "NoneType", method=method)
       for method in ("prefix_tuning", "prompt_tuning")},
    **{name: lambda watch, name=name: preferences(watch, name) for name in ("dpo", "orpo", "simpo", "kto")},
    "generate": generate,
    "score": score,
    "embed": embed,
    "planted tensor": planted_tensor,
    "planted wait": planted_wait,
}  # fmt: skip


def run(scenario: Callable[[Watch], None]) -> dict[str, Any]:
    """error: the last line of what was raised, or None; waits: where values were read; launches: operations."""
    error = None

    def read(tensor: torch.Tensor) -> Any:
        watch.waits += [_place()] if tensor.device.type == "cuda" else []
        return np.zeros(tensor.shape).tolist()

    compiled._compile = lambda function: function
    gpu_attention._flex = lambda: flex_stand_in
    token_losses.flex_works = lambda *about: True
    split_weights.seeded = lambda device, seed: None  # there are no generators on this device
    FakeTensor.tolist = read  # all values at once, as a real tensor's are read
    FakeTensorMode.__deepcopy__ = lambda mode, memo: mode  # caches are copied, and their tensors hold the mode
    with FakeTensorMode(allow_non_fake_inputs=True), Watch() as watch:
        try:
            scenario(watch)
        except Exception as raised:
            traceback.print_exc()
            error = f"{type(raised).__name__}: {raised}"
    return {"error": error, "waits": watch.waits, "launches": watch.launches}


def main(*wanted: str) -> None:
    warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
    print(json.dumps({name: run(SCENARIOS[name]) for name in wanted or SCENARIOS}))
