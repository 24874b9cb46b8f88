"""The trackers by name. Imported by the tracker's own process only (worker.py), so nothing here is guarded."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

Numbers = Mapping[str, float]


class Place(NamedTuple):
    """project: the task's name; run_id: the run folder's name; folder: what the tracker writes for this run goes
    here; runs_dir: what is shared by all runs goes here."""

    project: str
    run_id: str
    folder: Path
    runs_dir: Path


class Tracker(Protocol):
    """One tool. Calls come in this order, from one thread."""

    def start(self, place: Place, config: Mapping[str, Any]) -> str:
        """Begin a run, or take up that of the same id again; where it can be seen."""

    def log(self, rows: Sequence[tuple[int, Numbers]]) -> None:
        """Numbers by step, in order."""

    def finish(self, summary: Mapping[str, Any], status: str) -> None:
        """The end. status: done, failed, interrupted or killed."""


class TensorBoard:
    """Event files, written with tensorboard's own writer: torch's would load torch."""

    def start(self, place: Place, config: Mapping[str, Any]) -> str:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder = place.folder / "tensorboard"
        self._again = any(folder.glob("events.*"))
        self._last = 0
        self._writer = EventFileWriter(str(folder))
        self._text("config", f"```\n{json.dumps(config, indent=2)}\n```")
        return f"tensorboard --logdir {place.runs_dir}"

    def log(self, rows: Sequence[tuple[int, Numbers]]) -> None:
        from tensorboard.compat.proto import event_pb2

        for step, numbers in rows:
            if self._again:  # steps after the checkpoint that training went on from are told again
                start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
                self._add(step, session_log=start)
                self._again = False
            self._last = max(self._last, step)
            self._scalars(step, numbers)

    def finish(self, summary: Mapping[str, Any], status: str) -> None:
        numbers = {name: value for name, value in summary.items() if isinstance(value, int | float)}
        self._scalars(self._last, numbers)
        words = {name: value for name, value in summary.items() if name not in numbers}
        self._text("result", json.dumps(words | {"status": status}, indent=2))
        self._writer.close()

    def _scalars(self, step: int, numbers: Numbers) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        self._add(step, summary=Summary(value=values))

    def _text(self, tag: str, text: str) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING

        kind = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
        self._add(self._last, summary=Summary(value=[Summary.Value(tag=tag, metadata=kind, tensor=tensor)]))

    def _add(self, step: int, **what: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=time.time(), step=step, **what))


class WandB:
    """Weights & Biases. Without an account nothing is sent: the run stays in the folder, for `wandb sync`."""

    def start(self, place: Place, config: Mapping[str, Any]) -> str:
        import wandb

        mode = wandb_mode(os.environ)
        place.folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", place.project),
            id=place.run_id,
            name=place.run_id,
            dir=str(place.folder),
            config=dict(config),
            mode=mode,  # type: ignore[arg-type]
            resume="allow" if mode == "online" else None,
            settings=wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True),
        )
        return str(self._run.url) if mode == "online" else f"wandb sync {Path(self._run.dir).parent}"

    def log(self, rows: Sequence[tuple[int, Numbers]]) -> None:
        for step, numbers in rows:
            self._run.log(dict(numbers), step=step)

    def finish(self, summary: Mapping[str, Any], status: str) -> None:
        self._run.summary.update({**summary, "status": status})
        self._run.finish(exit_code=0 if status == "done" else 1)


def wandb_mode(environment: Mapping[str, str]) -> str:
    """WANDB_MODE, else online where there is a key, else offline: wandb would wait for one on a terminal."""
    if mode := environment.get("WANDB_MODE"):
        return mode
    if environment.get("WANDB_API_KEY"):
        return "online"
    import netrc
    from urllib.parse import urlparse

    host = urlparse(environment.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return "online" if netrc.netrc().authenticators(host) else "offline"
    except (OSError, netrc.NetrcParseError):
        return "offline"


class MLflow:
    """The server of MLFLOW_TRACKING_URI, else a database beside the runs."""

    def start(self, place: Place, config: Mapping[str, Any]) -> str:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{place.runs_dir.resolve() / 'mlflow.db'}"
        self._client = MlflowClient(tracking_uri=uri)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", place.project)
        found = self._client.get_experiment_by_name(name)
        artifacts = (place.runs_dir / "mlflow-artifacts").resolve().as_uri() if uri.startswith("sqlite") else None
        experiment = found.experiment_id if found else self._client.create_experiment(name, artifacts)
        before = self._client.search_runs([experiment], f"tags.burnish_run = '{place.run_id}'", max_results=1)
        tags = {"burnish_run": place.run_id}
        run = before[0] if before else self._client.create_run(experiment, run_name=place.run_id, tags=tags)
        self._id = run.info.run_id
        if before:
            self._client.update_run(self._id, status="RUNNING")
        else:
            parameters = [Param(name, str(value)[:500]) for name, value in flat(config).items()]
            for first in range(0, len(parameters), 100):
                self._client.log_batch(self._id, params=parameters[first : first + 100])
        return uri if os.environ.get("MLFLOW_TRACKING_URI") else f"mlflow ui --backend-store-uri {uri}"

    def log(self, rows: Sequence[tuple[int, Numbers]]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, step) for step, numbers in rows for name, value in numbers.items()]
        for first in range(0, len(metrics), 1000):  # the most that a server takes
            self._client.log_batch(self._id, metrics=metrics[first : first + 1000])

    def finish(self, summary: Mapping[str, Any], status: str) -> None:
        for name, value in summary.items():
            if isinstance(value, int | float):
                self._client.log_metric(self._id, name, float(value))
            else:
                self._client.set_tag(self._id, name, str(value)[:5000])
        ends = {"done": "FINISHED", "interrupted": "KILLED", "killed": "KILLED"}
        self._client.set_terminated(self._id, ends.get(status, "FAILED"))


class Trackio:
    """A database of its own in TRACKIO_DIR or its cache, or the space or server that its variables name."""

    def start(self, place: Place, config: Mapping[str, Any]) -> str:
        import trackio

        self._run = trackio.init(
            project=place.project,
            name=place.run_id,
            config=dict(config),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        self._summary_step = 0
        return f"trackio show --project {place.project}"

    def log(self, rows: Sequence[tuple[int, Numbers]]) -> None:
        import trackio

        for step, numbers in rows:
            self._summary_step = step
            trackio.log(dict(numbers), step=step)

    def finish(self, summary: Mapping[str, Any], status: str) -> None:
        import trackio

        trackio.log({**summary, "status": status}, step=self._summary_step)
        trackio.finish()


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"training": {"lora_r": 8}} -> {"training.lora_r": 8}"""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


# name -> the class, and the module whose absence is told before anything starts
TRACKERS: dict[str, tuple[Callable[[], Tracker], str]] = {
    "tensorboard": (TensorBoard, "tensorboard"),
    "wandb": (WandB, "wandb"),
    "mlflow": (MLflow, "mlflow"),
    "trackio": (Trackio, "trackio"),
}
PACKAGES = {"mlflow": "mlflow-skinny"}  # where the package is not called like the module
