"""The folder of a search: its files, and what a search and the one that goes on with it share."""

from __future__ import annotations

from collections.abc import Mapping

from burnish.hosting import without_limits
from burnish.records import Json

KIND = "tune"  # runs/studies.py
STUDY, RESULT, PAGE = "study.jsonl", "tuning.json", "tuning.html"


def describe(
    config: Mapping[str, Json], search: Mapping[str, Json], by: str, fingerprint: str, sealed_hash: str
) -> dict[str, Json]:
    """What a search and the one that goes on with it must share. config: the task file as JSON."""
    kept = {key: value for key, value in without_limits(config).items() if key not in ("tune", "trackers")}
    return {
        "config": kept,
        "search": dict(search),
        "metric": by,
        "data_fingerprint": fingerprint,
        "sealed_hash": sealed_hash,
    }
