"""Settings of training."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from burnish.config.base import Settings
from burnish.config.rates import default_learning_rate

Objective = Literal["sft", "dpo", "orpo", "kto", "simpo"]


class TrainingConfig(Settings):
    """What is trained, on which loss, and how."""

    method: Literal["lora", "qlora", "dora", "ia3", "bottleneck", "prefix_tuning", "prompt_tuning", "full"] = Field(
        default="lora", description="What is trained."
    )
    objective: Objective = Field(
        default="sft", description="The loss: sft on right answers; the others on preferences (default there: dpo)."
    )
    beta: float = Field(
        default=0.1, gt=0, le=100, description="dpo, kto, simpo: scale of the reward; orpo: weight of the odds ratio."
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=0.5, description="dpo: share of the pairs that may be labelled the wrong way round."
    )
    dpo_loss: Literal["sigmoid", "ipo"] = Field(default="sigmoid", description="dpo: form of the loss.")
    simpo_gamma: float = Field(
        default=1.0, ge=0, le=100, description="simpo: margin by which the chosen answer should lead."
    )
    kto_desirable_weight: float = Field(default=1.0, ge=0, description="kto: weight of desirable answers.")
    kto_undesirable_weight: float = Field(default=1.0, ge=0, description="kto: weight of undesirable answers.")
    prompt: Literal["short", "full"] = Field(
        default="short", description="short: instruction only; full: with the labels or the schema."
    )
    context: Literal["none", "retrieved"] = Field(
        default="none", description="retrieved: trained and answered with passages of retrieval.documents."
    )
    lora_r: int = Field(default=16, ge=1, le=1024, description="LoRA rank.")
    lora_alpha: float = Field(default=32, gt=0, description="LoRA scale: updates are multiplied by alpha / r.")
    lora_rank_stabilised: bool = Field(default=False, description="Scale by alpha / sqrt(r) instead.")
    lora_dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout in front of the LoRA matrices.")
    lora_target_modules: Annotated[list[str], Field(min_length=1)] | Literal["all-linear"] = Field(
        default="all-linear", description="Names of the modules that get an adapter, or all-linear."
    )
    qlora_init: Literal["corrected", "zero"] = Field(
        default="corrected",
        description="corrected: sft with qlora begins with adapters that make up for most of what 4 bits cost; zero: "
        "with B = 0.",
    )
    bottleneck_size: int = Field(default=64, ge=1, le=65536, description="Units of a bottleneck adapter.")
    virtual_tokens: int = Field(
        default=20, ge=1, le=1024, description="Trained tokens in front of every row (prefix and prompt tuning)."
    )
    learning_rate: float = Field(
        default=None, validate_default=True, gt=0, le=1, description="Peak learning rate (null: by method and size)."
    )
    lr_scheduler: Literal["cosine", "linear", "constant"] = Field(default="cosine", description="Decay.")
    warmup_ratio: float = Field(default=0.05, ge=0, lt=1, description="Share of steps that warm up.")
    num_epochs: float = Field(default=3, gt=0, le=1000, description="Passes over the training examples.")
    max_steps: int | None = Field(default=None, ge=1, description="Stop after this many optimizer steps.")
    batch_size: int = Field(default=16, ge=1, description="Examples an optimizer step.")
    tokens_per_batch: int = Field(
        default=4096,
        ge=64,
        description="Token budget of one forward pass; a step is cut into as many as it needs.",
    )
    gradient_checkpointing: bool | Annotated[int, Field(ge=2)] = Field(
        default=False,
        description="Keep each layer's input alone and compute the layer again for its gradient; 2, 3, …: of every "
        "second, third, … layer.",
    )
    shared_prefix: Literal["auto", "off"] = Field(
        default="auto", description="auto: what rows of a pass begin with alike is computed once; off: never."
    )
    train_on: Literal["last", "all"] = Field(
        default="last", description="last: the final answer is learned; all: the assistant's earlier turns, too."
    )
    optimizer: Literal["adamw", "adamw_8bit"] = Field(
        default="adamw", description="adamw_8bit: AdamW with its moments in 8 bits."
    )
    loraplus_lr_ratio: float | None = Field(
        default=None, gt=0, le=1000, description="LoRA+: rate of the B matrices over that of A (null: the same)."
    )
    weight_decay: float = Field(default=0.0, ge=0, description="AdamW weight decay.")
    max_grad_norm: float = Field(default=1.0, gt=0, description="Gradient norm is clipped to this.")
    max_length: int = Field(default=2048, ge=16, description="Longest example in tokens; longer ones are reported.")
    max_dropped: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Stop when a larger share of examples is longer than max_length.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="auto: bfloat16 where the hardware multiplies it natively, else float32."
    )
    sharding: Literal["none", "fsdp", "shard_grad_op"] = Field(
        default="none",
        description="fsdp: each of several processes holds a part of every weight; shard_grad_op: all weights, and "
        "a part of gradients and optimizer states.",
    )
    evals_per_epoch: float = Field(default=1, gt=0, description="How often validation runs.")
    eval_examples: int = Field(
        default=100, ge=0, description="Validation examples answered for the task's metric (0: loss only)."
    )
    select_by: Literal["metric", "loss"] = Field(default="metric", description="What the best checkpoint is best at.")
    early_stopping_patience: int | None = Field(
        default=3, ge=1, description="Stop after this many validations without a better one (null: never)."
    )
    checkpoint_steps: int = Field(default=50, ge=1, description="Steps between checkpoints.")
    keep_checkpoints: int = Field(default=2, ge=1, description="Newest checkpoints kept beside the best.")

    @property
    def sharded(self) -> bool:
        """Whether each of several processes holds a part of something."""
        return self.sharding != "none"

    @model_validator(mode="before")
    @classmethod
    def _null_rate_is_none_given(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("learning_rate", 0) is None:
            return {key: inner for key, inner in value.items() if key != "learning_rate"}
        return value

    @field_validator("learning_rate", mode="before")
    @classmethod
    def _rate_by_method(cls, value: Any, info: ValidationInfo) -> Any:
        return default_learning_rate(info.data.get("method", "lora")) if value is None else value
