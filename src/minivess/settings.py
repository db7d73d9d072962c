"""Base class of the settings that a user writes in YAML or on the command line."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Settings(BaseModel):
    """Frozen settings. An unknown key is an error, and so is true, false, NaN or infinity in the place of a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _not_true_for_one(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse a truth value for a number, because pydantic would read true as 1."""
        values = value if isinstance(value, list | tuple) else [value]
        kinds = _kinds_in(cls.model_fields[str(info.field_name)].annotation)
        if kinds & {int, float} and bool not in kinds and any(isinstance(item, bool) for item in values):
            raise ValueError("a number")
        return value


def _kinds_in(annotation: Any) -> set[Any]:
    """Return the plain types in an annotation such as ``tuple[int, ...] | None``."""
    arguments = get_args(annotation)
    return {annotation} if not arguments else set().union(*map(_kinds_in, arguments))
