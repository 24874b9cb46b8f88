"""What all settings have in common."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Literal, Protocol, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from burnish.config.yaml_tree import Key


def _accepts_bool(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return any(_accepts_bool(part) for part in get_args(annotation))
    return annotation in (bool, Any) or bool(getattr(annotation, "takes_bool", False))


def _takes_off(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return any(_takes_off(part) for part in get_args(annotation))
    return get_origin(annotation) is Literal and "off" in get_args(annotation)


class Settings(BaseModel):
    """Base of all settings: unknown keys are errors, values do not change after reading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False, validate_default=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        # `seed: yes` would otherwise pass as 1.
        field = cls.model_fields[info.field_name or ""]
        if value is False and _takes_off(field.annotation):
            return "off"  # what YAML 1.1 makes of a bare off
        if isinstance(value, bool) and not _accepts_bool(field.annotation):
            raise PydanticCustomError("bool_given", "is true or false")
        return value


class Report(Protocol):
    """Takes one mistake: our key, what is wrong, the value (None: nothing to show), the fix."""

    def __call__(self, key: Key, what: str, got: Any, fix: str) -> None: ...
