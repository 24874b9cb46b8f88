"""One object a kind of task: prompt, target, parse and score."""

from burnish.tasks.base import Floats, Metric, Task
from burnish.tasks.make import have_shared_tools, make_task, target_error, with_instruction

__all__ = ["Floats", "Metric", "Task", "have_shared_tools", "make_task", "target_error", "with_instruction"]
