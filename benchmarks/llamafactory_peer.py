"""LLaMA-Factory's side of train_speed.py, run by the Python of an environment of its own, which lacks Burnish.

    python llamafactory_peer.py WORK.json

WORK.json: model and adapter (folders to begin from), rows ([{input_ids, labels}] in order), batch, accumulate, steps,
rate, out (a folder for the trained adapter). Rows are given already tokenised, as its option tokenized_path takes
them. Prints {"seconds": of each optimizer step, "peak_mb", "versions"} as its last line.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

os.environ |= {"DISABLE_VERSION_CHECK": "1", "HF_HUB_OFFLINE": "1", "WANDB_DISABLED": "true"}


def main() -> None:
    """Train, print."""
    try:
        import_module("torchaudio")
    except (ImportError, OSError):  # wheels from PyPI are for CUDA; it is asked for audio alone
        sys.modules["torchaudio"] = module_from_spec(ModuleSpec("torchaudio", None))
    from datasets import Dataset, DatasetDict
    from llamafactory.train.tuner import run_exp
    from step_clock import StepClock

    work: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    rows = [row | {"attention_mask": [1] * len(row["input_ids"])} for row in work["rows"]]
    tokenized = Path(work["out"]).with_name("tokenized")
    DatasetDict({"train": Dataset.from_list(rows)}).save_to_disk(str(tokenized))
    clock = StepClock()
    run_exp(
        {
            "stage": "sft",
            "do_train": True,
            "model_name_or_path": work["model"],
            "adapter_name_or_path": work["adapter"],
            "finetuning_type": "lora",
            "template": "empty",
            "dataset": "given",  # has to be said; tokenized_path goes first
            "tokenized_path": str(tokenized),
            "disable_shuffling": True,
            "output_dir": work["out"],
            "per_device_train_batch_size": work["batch"],
            "gradient_accumulation_steps": work["accumulate"],
            "max_steps": work["steps"],
            "learning_rate": work["rate"],
            "lr_scheduler_type": "cosine",
            "bf16": work["dtype"] == "bfloat16",
            "use_cpu": not work["gpu"],
            "disable_gradient_checkpointing": True,
            "save_strategy": "no",
            "logging_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
        },
        callbacks=[clock],
    )
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    found = {
        "seconds": clock.seconds,
        "peak_mb": int(status.split("VmHWM:", 1)[1].split(None, 1)[0]) / 2**10,
        "versions": {name: version(name) for name in ("llamafactory", "torch", "transformers", "peft")},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
