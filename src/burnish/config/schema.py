"""JSON Schema of the task file, for editors (`burnish schema`)."""

from __future__ import annotations

from typing import Any

from burnish.config.settings import TaskConfig

_FILES = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
    ]
}


def json_schema_of_task_file() -> dict[str, Any]:
    """The schema of burnish.yaml as written: data and schema in each of their forms. A new dict every time."""
    schema = TaskConfig.model_json_schema(by_alias=True)
    properties, defs = schema["properties"], schema["$defs"]
    for part in ("train", "validation", "test", "contamination", "answers"):
        node = defs["DataConfig"]["properties"][part]
        defs["DataConfig"]["properties"][part] = {
            **{key: node[key] for key in ("title", "description", "default") if key in node},
            **_FILES,
        }
    for section in ("MixtureConfig", "ReplayConfig"):
        node = defs[section]["properties"]["file"]
        kept = {key: node[key] for key in ("title", "description", "default") if key in node}
        defs[section]["properties"]["file"] = {**kept, **_FILES}
    file = {"type": "string", "minLength": 1}
    properties["mixture"]["items"] = {"anyOf": [file, {"$ref": "#/$defs/MixtureConfig"}]}
    properties["probe"] = {
        **properties["probe"],
        "anyOf": [{"type": "boolean"}, file, {"$ref": "#/$defs/ProbeConfig"}],
    }
    properties["probe"].pop("$ref", None)
    data = properties["data"]
    properties["data"] = {
        "title": "Data",
        "description": data["description"],
        "anyOf": [*_FILES["anyOf"], {"$ref": "#/$defs/DataConfig"}],
    }
    properties["schema"] = {
        **{key: properties["schema"][key] for key in ("title", "description", "default")},
        "anyOf": [{"type": "string", "minLength": 1}, {"type": "object"}, {"type": "null"}],
    }
    for name, info in TaskConfig.model_fields.items():  # pydantic leaves out what a section's docstring says, too
        properties[info.alias or name]["description"] = info.description
    schema["title"] = "Burnish task file"
    schema["description"] = "One task: what is to be learned, from what, how well, and how."
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
