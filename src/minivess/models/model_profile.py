"""Model profiles, one YAML each, and the networks they name: a researcher adds a model without touching the package."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from minivess.errors import ConfigError
from minivess.geometry import Shape, Spacing, StridePlan, plan_strides
from minivess.suggestions import unknown
from minivess.validation_errors import config_error, first_fault

if TYPE_CHECKING:
    import torch

PROFILES = next(
    folder / "configs" / "model_profiles"
    for folder in (Path(__file__).parents[3], Path(__file__).parents[1])
    if (folder / "configs" / "model_profiles").is_dir()
)
"""In a checkout beside src/, in an installed package within it."""


class MeasuredVram(BaseModel):
    """What a training step really took of a card; predictions are made elsewhere and never from this."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    date: str
    card: str
    cap_gib: float | None = Field(
        default=None, description="what torch was allowed of the card, to stand for a smaller one"
    )
    torch: str
    cudnn: str
    loss: str
    precision: str
    batch: int
    patch: Shape
    allocated_gib: float
    reserved_gib: float = Field(description="with what torch's caching allocator kept, without the CUDA context")
    step_seconds: float


class ModelProfile(BaseModel):
    """What the planner must know of a model and cannot compute."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    builder: str = Field(
        description="importable function 'package.module:function' taking a NetworkSpec, returning a torch module"
    )
    strides: Literal["planned", "isotropic"] = Field(
        description="planned: axis by axis, by spacing; isotropic: every axis at every level"
    )
    filters: tuple[int, ...] = Field(min_length=1, description="feature maps a level, the finest first")
    deep_supervision: int = Field(default=0, ge=0, description="auxiliary heads below the output")
    options: dict[str, Any] = Field(default_factory=dict, description="whatever else the builder wants to be told")
    measured: tuple[MeasuredVram, ...] = Field(
        default=(), description="written by `minivess benchmark vram --write`; for people, the plan is traced"
    )

    def plan_strides(self, patch: Shape, spacing_um: Spacing) -> StridePlan:
        """Strides and kernels for a patch; an isotropic model halves every axis at every level whatever patch and spacing."""
        levels = len(self.filters)
        if self.strides == "isotropic":
            return StridePlan(((1, 1, 1), *((2, 2, 2),) * (levels - 1)), ((3, 3, 3),) * levels)
        return plan_strides(patch, spacing_um, levels)

    def spec(self, patches: tuple[Shape, ...], strides: StridePlan) -> NetworkSpec:
        """The network for its patches and strides; as many levels as could be planned."""
        return NetworkSpec(
            model=self.name,
            builder=self.builder,
            patches=patches,
            strides=strides.strides,
            kernels=strides.kernels,
            filters=self.filters[: len(strides.strides)],
            deep_supervision=self.deep_supervision,
            options=self.options,
        )


class NetworkSpec(BaseModel):
    """Everything that fixes a network, and the patches it was planned for; saved beside its weights.

    A volume is cut into the deepest of ``patches`` that it holds (``minivess.geometry.patch_for``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    builder: str
    patches: tuple[Shape, ...] = Field(min_length=1)
    strides: tuple[Shape, ...]
    kernels: tuple[Shape, ...]
    filters: tuple[int, ...]
    deep_supervision: int = 0
    options: dict[str, Any] = Field(default_factory=dict)
    in_channels: int = 1
    out_channels: int = 2

    @property
    def heads(self) -> int:
        """Auxiliary heads that its levels have room for: none at the output and none at the coarsest."""
        return max(min(self.deep_supervision, len(self.filters) - 2), 0)

    @property
    def largest_patch(self) -> Shape:
        """The patch of most voxels, of equals the deepest: what memory is computed for, and what shrinks where it lacks."""
        return max(self.patches, key=lambda patch: (patch[0] * patch[1] * patch[2], patch[2]))

    @property
    def divisor(self) -> Shape:
        return StridePlan(self.strides, self.kernels).divisor


def load_model_profile(name: str, **changes: Any) -> ModelProfile:
    """The profile ``name`` of configs/model_profiles, or the YAML file of that path, with ``changes`` on top.

    What was measured of a model does not hold for a changed one, and is left out of it.

    Raises:
        ConfigError: No such profile, or it does not hold what a profile holds.
    """
    path = profile_path(name)
    if not path.is_file():
        if path.parent != PROFILES:
            raise ConfigError("a model profile's YAML file", f"none at {path}", "check --model or the key model.name")
        raise unknown("model", name, sorted(file.stem for file in PROFILES.glob("*.yaml")))
    try:
        profile = ModelProfile.model_validate({**yaml.safe_load(path.read_text(encoding="utf-8")), **changes})
    except ValidationError as error:
        raise config_error(error, ModelProfile, lambda location: str(path)) from error
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise ConfigError(
            "a valid model profile",
            f"{path}: {' '.join(str(error).split())}",
            "compare it with configs/model_profiles/dynunet.yaml",
        ) from error
    return profile.model_copy(update={"measured": ()}) if changes else profile


def profile_path(name: str) -> Path:
    """The file that ``load_model_profile`` reads; it need not exist."""
    return Path(name) if name.endswith((".yaml", ".yml")) else PROFILES / f"{name}.yaml"


def build_network(spec: NetworkSpec, *, pretrained: bool = True) -> torch.nn.Module:
    """Import the builder and build: image (B, 1, X, Y, Z) to logits (B, 2, X, Y, Z).

    While training, a network with deep supervision returns a list of logits, the output first, then the deeper
    heads, all resampled to full size.

    Args:
        spec: The network.
        pretrained: Whether a builder may read the file that the option ``weights`` names; False where weights do not matter,
            or others are loaded at once.

    Raises:
        ConfigError: The builder cannot be imported, or does not take these options.
    """
    if not pretrained and "weights" in spec.options:
        spec = spec.model_copy(update={"options": {**spec.options, "weights": None}})
    module, _, function = spec.builder.partition(":")
    try:
        builder = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            "an importable builder 'package.module:function'",
            f"{spec.builder!r}: {error}",
            "check builder in the model profile; the folder of a module of your own must be on PYTHONPATH",
        ) from error
    try:
        network: torch.nn.Module = builder(spec)
    except ValidationError as error:
        raise ConfigError(
            f"options of {spec.builder}", first_fault(error), "mend options in the model profile"
        ) from error
    return network
