"""A run on disk, for reading: what it found, and its systems to ask and to export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.evaluation.measures import Calibration, Slices
from burnish.progress import Progress, Silent
from burnish.records import Evaluation, Example, Forgetting, Interval, Json, Paired, Prediction, Verdict
from burnish.runs import (
    find_run,
    from_json,
    lacking,
    predictions_path,
    read_evaluation,
    read_json,
    read_predictions,
    to_json,
)

if TYPE_CHECKING:
    from burnish.models.export import Replay

CANDIDATE = "tuned"


@dataclass(frozen=True, slots=True)
class Run:
    """A run on disk, for reading: `run()` returns it, `Run.open` finds one."""

    path: Path

    @staticmethod
    def open(query: str = "latest", runs_dir: str | Path = "runs") -> Run:
        """A run by its id, the start of its id, or "latest". Raises RunError naming the nearest."""
        path = Path(query)
        if (path / "run.json").is_file():
            return Run(path)
        return Run(find_run(Path(runs_dir), query).path)

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.path / "report.html"

    @property
    def adapter(self) -> Path:
        """The folder of the trained adapter."""
        return self.path / "adapter"

    @property
    def verdict(self) -> Verdict:
        return from_json(Verdict, self._need("verdict.json"), str(self.path / "verdict.json"))

    @property
    def evaluations(self) -> list[Evaluation]:
        self._need("evaluation.json")
        return read_evaluation(self.path / "evaluation.json")[0]

    @property
    def paired(self) -> list[Paired]:
        self._need("evaluation.json")
        return read_evaluation(self.path / "evaluation.json")[1]

    @property
    def forgetting(self) -> Forgetting | None:
        """The general probe before and after tuning, None when it was off."""
        found = self._need("evaluation.json").get("forgetting")
        return from_json(Forgetting, found, str(self.path / "evaluation.json")) if found else None

    @property
    def calibration(self) -> list[Calibration]:
        """How far each system's confidence can be believed; systems that give none are left out."""
        where = str(self.path / "evaluation.json")
        return [from_json(Calibration, one, where) for one in self._need("evaluation.json").get("calibration") or ()]

    @property
    def slices(self) -> Slices | None:
        """The tuned model against the best baseline on parts of the test; None when goal.slices was off."""
        found = self._need("evaluation.json").get("slices")
        return from_json(Slices, found, str(self.path / "evaluation.json")) if found else None

    def predictions(self, system: str = CANDIDATE) -> list[Prediction]:
        """A system's answers to the sealed test."""
        return read_predictions(predictions_path(self.path, system))

    def predict(
        self, examples: Sequence[str | Example], progress: Progress | None = None, *, system: str = CANDIDATE
    ) -> list[Prediction]:
        """New answers of the tuned model, given as it was trained to, or of a baseline as it was measured."""
        from burnish.predicting import predictor

        return predictor(self.path, progress or Silent(), system)(examples)

    def export(
        self,
        folder: str | Path,
        *,
        merged: bool = True,
        for_full: bool = False,
        progress: Progress | None = None,
    ) -> Replay | None:
        """Write the tuned model into a new folder: all weights with the adapter in them, or the adapter alone.

        for_full: an adapter that was trained on 4-bit weights is made one for the base in full. Merged weights are
        written only when they answer held-out prompts as the tuned model does; what that replay found is returned.
        Raises ModelError and RunError.
        """
        from burnish.models.export import export_adapter, export_merged
        from burnish.predicting import held_out_prompts, require_tuned

        require_tuned(self.path)
        if not merged:
            export_adapter(self.adapter, Path(folder), for_full=for_full, progress=progress)
            return None
        return export_merged(self.adapter, Path(folder), held_out_prompts(self.path), progress=progress)

    def summary(self) -> dict[str, Json]:
        """What `burnish run --json` prints."""
        verdict = self.verdict
        systems = {
            evaluation.system: {name: _short(interval) for name, interval in evaluation.metrics.items()}
            | {
                "seconds_per_example": evaluation.seconds_per_example,
                "prompt_tokens": evaluation.prompt_tokens,
                "completion_tokens": evaluation.completion_tokens,
            }
            | ({} if evaluation.cost_per_example is None else {"cost_per_example": evaluation.cost_per_example})
            | {name: table for name, table in evaluation.tables.items() if name == "retrieval"}
            for evaluation in self.evaluations
        }
        best = next((pair for pair in self.paired if pair.baseline == verdict.baseline), None)
        parts = self._need("split.json")
        return {
            "run_id": self.run_id,
            "run_dir": str(self.path),
            "verdict": verdict.decision,
            "reasons": list(verdict.reasons),
            "advice": list(verdict.advice),
            "metric": verdict.metric,
            "looks": verdict.looks,
            "level": verdict.level,
            "error_spent": verdict.error_spent,
            "systems": systems,
            "paired": to_json(best) if best else None,
            "forgetting": to_json(self.forgetting),
            "slices": [to_json(one) for one in self.slices.slices if one.change == "worse"] if self.slices else [],
            "calibration": [to_json(one) for one in self.calibration if one.system == CANDIDATE],
            "data": {part: len(parts[part]) for part in ("train", "validation", "test")},
            "mixture": (read_json(self.path / "run.json") or {}).get("mixture") or [],
        }

    def _need(self, name: str) -> Any:
        path = self.path / name
        if not path.exists():
            raise lacking(self.path, name)
        return read_json(path)


def _short(interval: Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}
