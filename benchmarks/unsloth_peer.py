"""Unsloth's side of train_speed.py, run by the Python of an environment of its own, which lacks Burnish.

    python unsloth_peer.py WORK.json

WORK.json as for llamafactory_peer.py, with r, alpha and dropout. Rows are given already tokenised. Prints
{"seconds": of each optimizer step, "peak_mb", "versions"} as its last line.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "WANDB_DISABLED": "true", "UNSLOTH_DISABLE_STATISTICS": "1"}

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main() -> None:
    """Train, print."""
    unsloth = import_module("unsloth")  # before the libraries that it changes
    import torch
    from datasets import Dataset
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file
    from step_clock import StepClock
    from torch.utils.data import SequentialSampler
    from transformers import DataCollatorForSeq2Seq
    from trl import SFTConfig, SFTTrainer

    work: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    longest = max(len(row["input_ids"]) for row in work["rows"])
    model, tokenizer = unsloth.FastLanguageModel.from_pretrained(
        work["model"],
        max_seq_length=max(2048, longest),
        dtype=getattr(torch, work["dtype"]),
        load_in_4bit=False,
    )
    model = unsloth.FastLanguageModel.get_peft_model(
        model,
        r=work["r"],
        lora_alpha=work["alpha"],
        lora_dropout=work["dropout"],
        target_modules=MODULES,
        use_gradient_checkpointing=False,
    )
    set_peft_model_state_dict(model, load_file(Path(work["adapter"]) / "adapter_model.safetensors"))

    class Peer(SFTTrainer):  # type: ignore[misc]
        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return SequentialSampler(dataset if dataset is not None else self.train_dataset)

    settings = SFTConfig(
        output_dir=work["out"],
        per_device_train_batch_size=work["batch"],
        gradient_accumulation_steps=work["accumulate"],
        max_steps=work["steps"],
        learning_rate=work["rate"],
        lr_scheduler_type="cosine",
        warmup_steps=0,
        optim="adamw_torch",
        weight_decay=0.0,
        max_length=None,
        bf16=work["dtype"] == "bfloat16",
        fp16=False,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        use_cpu=not work["gpu"],
        dataloader_pin_memory=False,
    )
    clock = StepClock()
    rows = [row | {"attention_mask": [1] * len(row["input_ids"])} for row in work["rows"]]
    trainer = Peer(
        model=model,
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        callbacks=[clock],
    )
    trainer.train()
    model.save_pretrained(work["out"])
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    found = {
        "seconds": clock.seconds,
        "peak_mb": int(status.split("VmHWM:", 1)[1].split(None, 1)[0]) / 2**10,
        "versions": {name: version(name) for name in ("unsloth", "torch", "transformers", "trl", "peft")},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
