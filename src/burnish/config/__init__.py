"""The task file: burnish.yaml <-> TaskConfig. Names follow the field; peers' names are aliases."""

from burnish.config.base import Settings
from burnish.config.baselines import FewShotConfig, PromptConfig
from burnish.config.hosted import HostedConfig, HostedPrice
from burnish.config.init import init_task
from burnish.config.read import LoadedTask, load_task, task_from, with_sharding
from burnish.config.schema import json_schema_of_task_file
from burnish.config.search import Candidates, Range, candidates
from burnish.config.settings import (
    METRICS,
    BaselineName,
    CheckConfig,
    ContextConfig,
    CostsConfig,
    DataConfig,
    GenerationConfig,
    GoalConfig,
    SplitConfig,
    TaskConfig,
    TuneConfig,
)
from burnish.config.training import TrainingConfig

__all__ = [
    "METRICS",
    "BaselineName",
    "Candidates",
    "CheckConfig",
    "ContextConfig",
    "CostsConfig",
    "DataConfig",
    "FewShotConfig",
    "GenerationConfig",
    "GoalConfig",
    "HostedConfig",
    "HostedPrice",
    "LoadedTask",
    "PromptConfig",
    "Range",
    "Settings",
    "SplitConfig",
    "TaskConfig",
    "TrainingConfig",
    "TuneConfig",
    "candidates",
    "init_task",
    "json_schema_of_task_file",
    "load_task",
    "task_from",
    "with_sharding",
]
