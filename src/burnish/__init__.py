"""Burnish: fine-tune language models with evidence.

    import burnish

    run = burnish.run("burnish.yaml")      # check, split, baselines, train, evaluate, verdict
    print(run.verdict.decision, run.report)
    run.predict(["where is my parcel?"])

Names are imported when first used, so that `import burnish` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from burnish.config import (
        LoadedTask,
        TaskConfig,
        TrainingConfig,
        init_task,
        json_schema_of_task_file,
        load_task,
        task_from,
    )
    from burnish.data.check import check_examples, check_files
    from burnish.data.inputs import read_inputs
    from burnish.data.load import iter_examples, read_examples
    from burnish.data.split import split_examples
    from burnish.errors import (
        BurnishError,
        ConfigError,
        DataError,
        HostedError,
        Interrupted,
        ModelError,
        Problem,
        RunError,
        TrainingError,
    )
    from burnish.evaluation.evaluate import comparisons, evaluate
    from burnish.evaluation.gate import decide
    from burnish.finished import Run
    from burnish.lifecycle import run
    from burnish.models.adapters import attach_adapter, load_adapter
    from burnish.models.chat import Chat
    from burnish.models.generate import Engine, Request
    from burnish.models.load import Loaded, load_model, load_tokenizer
    from burnish.models.score import loglikelihoods
    from burnish.models.token_losses import TokenLosses
    from burnish.progress import Progress, Silent
    from burnish.records import (
        Completion,
        DataReport,
        Evaluation,
        Example,
        Finding,
        Forgetting,
        Interval,
        JsonSchema,
        Labels,
        Message,
        Paired,
        Parsed,
        Prediction,
        Source,
        Split,
        ToolCall,
        TrainingResult,
        Verdict,
    )
    from burnish.reports.html import write_report
    from burnish.reports.model_card import write_model_card
    from burnish.reports.terminal import TerminalProgress
    from burnish.systems.base import System
    from burnish.tasks.base import Metric, Task
    from burnish.tasks.make import make_task
    from burnish.training.batches import collate
    from burnish.training.encode import encode
    from burnish.training.loop import train
    from burnish.training.objectives.base import Item, Objective
    from burnish.training.objectives.make import make_objective
    from burnish.training.objectives.sft import sft_loss
    from burnish.tuning.search import tune
    from burnish.tuning_records import Trial, Tuning

__version__ = "0.1.0"

# Where each public name lives; the same as the imports above, which are what type checkers and editors read.
_HOMES = {
    "burnish.config": ("LoadedTask TaskConfig TrainingConfig init_task json_schema_of_task_file load_task task_from"),
    "burnish.data.check": "check_examples check_files",
    "burnish.data.inputs": "read_inputs",
    "burnish.data.load": "iter_examples read_examples",
    "burnish.data.split": "split_examples",
    "burnish.errors": (
        "BurnishError ConfigError DataError HostedError Interrupted ModelError Problem RunError TrainingError"
    ),
    "burnish.evaluation.evaluate": "comparisons evaluate",
    "burnish.evaluation.gate": "decide",
    "burnish.finished": "Run",
    "burnish.lifecycle": "run",
    "burnish.models.adapters": "attach_adapter load_adapter",
    "burnish.models.chat": "Chat",
    "burnish.models.generate": "Engine Request",
    "burnish.models.load": "Loaded load_model load_tokenizer",
    "burnish.models.score": "loglikelihoods",
    "burnish.models.token_losses": "TokenLosses",
    "burnish.progress": "Progress Silent",
    "burnish.records": (
        "Completion DataReport Evaluation Example Finding Forgetting Interval JsonSchema Labels Message Paired "
        "Parsed Prediction Source Split ToolCall TrainingResult Verdict"
    ),
    "burnish.reports.html": "write_report",
    "burnish.reports.model_card": "write_model_card",
    "burnish.reports.terminal": "TerminalProgress",
    "burnish.systems.base": "System",
    "burnish.tasks.base": "Metric Task",
    "burnish.tasks.make": "make_task",
    "burnish.training.batches": "collate",
    "burnish.training.encode": "encode",
    "burnish.training.loop": "train",
    "burnish.training.objectives.base": "Item Objective",
    "burnish.training.objectives.make": "make_objective",
    "burnish.training.objectives.sft": "sft_loss",
    "burnish.tuning.search": "tune",
    "burnish.tuning_records": "Trial Tuning",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "BurnishError",
    "Chat",
    "Completion",
    "ConfigError",
    "DataError",
    "DataReport",
    "Engine",
    "Evaluation",
    "Example",
    "Finding",
    "Forgetting",
    "HostedError",
    "Interrupted",
    "Interval",
    "Item",
    "JsonSchema",
    "Labels",
    "Loaded",
    "LoadedTask",
    "Message",
    "Metric",
    "ModelError",
    "Objective",
    "Paired",
    "Parsed",
    "Prediction",
    "Problem",
    "Progress",
    "Request",
    "Run",
    "RunError",
    "Silent",
    "Source",
    "Split",
    "System",
    "Task",
    "TaskConfig",
    "TerminalProgress",
    "TokenLosses",
    "ToolCall",
    "TrainingConfig",
    "TrainingError",
    "TrainingResult",
    "Trial",
    "Tuning",
    "Verdict",
    "__version__",
    "attach_adapter",
    "check_examples",
    "check_files",
    "collate",
    "comparisons",
    "decide",
    "encode",
    "evaluate",
    "init_task",
    "iter_examples",
    "json_schema_of_task_file",
    "load_adapter",
    "load_model",
    "load_task",
    "load_tokenizer",
    "loglikelihoods",
    "make_objective",
    "make_task",
    "read_examples",
    "read_inputs",
    "run",
    "sft_loss",
    "split_examples",
    "task_from",
    "train",
    "tune",
    "write_model_card",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'burnish' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
