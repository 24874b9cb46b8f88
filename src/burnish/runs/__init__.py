"""The run folder: atomic files, state, lock, listing, comparison, and the ledger of sealed tests."""

from burnish.runs.files import (
    MANIFEST,
    append_jsonl,
    clean_temporaries,
    commit_folder,
    explained,
    read_json,
    read_jsonl,
    verify_folder,
    write_bytes,
    write_json,
    write_jsonl,
    write_text,
)
from burnish.runs.folder import (
    STATUSES,
    RunFolder,
    Status,
    new_run,
    open_run,
    read_evaluation,
    read_predictions,
    write_evaluation,
    write_predictions,
)
from burnish.runs.listing import RunDiff, RunSummary, diff_runs, find_run, list_runs
from burnish.runs.machine import describe_machine, git_commit, installed_versions
from burnish.runs.notes import Notes, NotesFolder
from burnish.runs.sealed import count_looks, next_look, record_look
from burnish.runs.serial import dumps, from_json, to_json
from burnish.runs.studies import locked_study, new_study, newest_study

__all__ = [
    "MANIFEST",
    "STATUSES",
    "Notes",
    "NotesFolder",
    "RunDiff",
    "RunFolder",
    "RunSummary",
    "Status",
    "append_jsonl",
    "clean_temporaries",
    "commit_folder",
    "count_looks",
    "describe_machine",
    "diff_runs",
    "dumps",
    "explained",
    "find_run",
    "from_json",
    "git_commit",
    "installed_versions",
    "list_runs",
    "locked_study",
    "new_run",
    "new_study",
    "newest_study",
    "next_look",
    "open_run",
    "read_evaluation",
    "read_json",
    "read_jsonl",
    "read_predictions",
    "record_look",
    "to_json",
    "verify_folder",
    "write_bytes",
    "write_evaluation",
    "write_json",
    "write_jsonl",
    "write_predictions",
    "write_text",
]
