"""Model profiles and the networks they describe.

A profile is a YAML file. A researcher adds a model with a profile and a builder function, without changing the package.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from minivess.errors import ConfigError
from minivess.geometry import Shape, Spacing, StridePlan, plan_strides
from minivess.settings import Settings
from minivess.suggestions import unknown
from minivess.trusted_code import import_builder
from minivess.validation_errors import config_error, first_fault
from minivess.yaml_files import read_yaml

if TYPE_CHECKING:
    import torch

PROFILES = next(
    folder / "configs" / "model_profiles"
    for folder in (Path(__file__).parents[3], Path(__file__).parents[1])
    if (folder / "configs" / "model_profiles").is_dir()
)
"""Folder of the model profiles: next to src/ in a checkout, inside the package in an installation."""


SPEC_FILE, WEIGHTS_FILE = "network.json", "network.safetensors"
"""Names of the files in a folder of weights: the `NetworkSpec` and the tensors."""


MOST_LEVELS = 10
Channels = Annotated[int, Field(ge=1, le=8192)]
_PatchSize = Annotated[int, Field(ge=1, le=32_767)]
PatchShape = tuple[_PatchSize, _PatchSize, _PatchSize]
"""Patch along X, Y, Z in voxels. Larger numbers are refused before anything is built."""
_Step = Annotated[int, Field(ge=1, le=31)]
_Steps = tuple[_Step, _Step, _Step]


class MeasuredVram(BaseModel):
    """Measured GPU memory of a training step. Memory predictions do not use these values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    date: str
    card: str
    cap_gib: float | None = Field(
        default=None, description="limit set for torch's GPU memory, to imitate a smaller GPU; None for no limit"
    )
    torch: str
    cudnn: str
    loss: str
    precision: str
    batch: int
    patch: Shape
    allocated_gib: float
    reserved_gib: float = Field(
        description="includes memory that torch's caching allocator keeps; excludes the CUDA context"
    )
    step_seconds: float


class ModelProfile(Settings):
    """The properties of a model that the planner needs and cannot compute."""

    name: str
    builder: str = Field(
        description="importable function 'package.module:function' that takes a NetworkSpec and returns a torch module"
    )
    strides: Literal["planned", "isotropic"] = Field(
        description="planned: halve axis by axis, by spacing; isotropic: halve every axis at every level"
    )
    filters: tuple[Channels, ...] = Field(
        min_length=1, max_length=MOST_LEVELS, description="number of feature maps per level, the finest first"
    )
    deep_supervision: int = Field(default=0, ge=0, le=10, description="number of auxiliary heads below the output")
    options: dict[str, Any] = Field(default_factory=dict, description="further settings for the builder")
    measured: tuple[MeasuredVram, ...] = Field(
        default=(), description="written by `minivess benchmark vram --write`, for information; plans do not use it"
    )

    def plan_strides(self, patch: Shape, spacing_um: Spacing) -> StridePlan:
        """Choose strides and kernels for a patch.

        An isotropic model halves every axis at every level, for any patch and spacing.

        Args:
            patch: Patch in voxels along X, Y and Z.
            spacing_um: Voxel size along X, Y and Z, in micrometres.
        """
        levels = len(self.filters)
        if self.strides == "isotropic":
            return StridePlan(((1, 1, 1), *((2, 2, 2),) * (levels - 1)), ((3, 3, 3),) * levels)
        return plan_strides(patch, spacing_um, levels)

    def spec(self, patches: tuple[Shape, ...], strides: StridePlan) -> NetworkSpec:
        """Describe the network for its patches and strides. It has as many levels as the strides."""
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
    """Complete description of a network, and the patches it was planned for; saved next to its weights.

    A volume is cut into the deepest of ``patches`` that fits into it (``minivess.geometry.patch_for``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    builder: str
    patches: tuple[PatchShape, ...] = Field(min_length=1, max_length=100)
    strides: tuple[_Steps, ...] = Field(min_length=1, max_length=MOST_LEVELS)
    kernels: tuple[_Steps, ...] = Field(min_length=1, max_length=MOST_LEVELS)
    filters: tuple[Channels, ...] = Field(min_length=1, max_length=MOST_LEVELS)
    deep_supervision: int = Field(default=0, ge=0)
    options: dict[str, Any] = Field(default_factory=dict)
    in_channels: Channels = 1
    out_channels: Channels = 2

    @property
    def heads(self) -> int:
        """Number of auxiliary heads that fit into the levels: the output level and the coarsest level have none."""
        return max(min(self.deep_supervision, len(self.filters) - 2), 0)

    @property
    def largest_patch(self) -> Shape:
        """The patch with the most voxels; among equal ones, the deepest.

        Memory is predicted for this patch, and this patch is reduced if memory is not enough.
        """
        return max(self.patches, key=lambda patch: (patch[0] * patch[1] * patch[2], patch[2]))

    @property
    def divisor(self) -> Shape:
        """A patch must be a multiple of this along each axis."""
        return StridePlan(self.strides, self.kernels).divisor


def load_model_profile(name: str, **changes: Any) -> ModelProfile:
    """Load a model profile.

    Args:
        name: A profile of configs/model_profiles, or the path to a YAML file.
        **changes: Values that replace those of the file. The profile then contains no measurements, because they are
            not valid for a changed model.

    Raises:
        ConfigError: The profile does not exist, or its content is invalid.
    """
    path = profile_path(name)
    if not path.is_file():
        if path.parent != PROFILES:
            raise ConfigError(
                "the YAML file of a model profile", f"no file at {path}", "check --model or the key model.name"
            )
        raise unknown("model", name, sorted(file.stem for file in PROFILES.glob("*.yaml")))
    try:
        profile = ModelProfile.model_validate({**read_yaml(path.read_bytes()), **changes})
    except ValidationError as error:
        raise config_error(error, ModelProfile, lambda location: str(path)) from error
    except (OSError, TypeError, ValueError) as error:
        raise ConfigError(
            "a valid model profile",
            f"{path}: {' '.join(str(error).split())}",
            "compare it with configs/model_profiles/dynunet.yaml",
        ) from error
    return profile.model_copy(update={"measured": ()}) if changes else profile


def profile_path(name: str) -> Path:
    """Path of the file that ``load_model_profile`` reads. The file may be missing."""
    return Path(name) if name.endswith((".yaml", ".yml")) else PROFILES / f"{name}.yaml"


def build_network(spec: NetworkSpec, *, pretrained: bool = True) -> torch.nn.Module:
    """Import the builder of a network and build the network.

    Args:
        spec: The network.
        pretrained: Whether the builder may read the file of the option ``weights``. Use False if the weights do not
            matter or if other weights are loaded immediately after.

    Returns:
        Image (B, 1, X, Y, Z) to logits (B, 2, X, Y, Z). While training, a network with deep supervision returns a list
        of logits: the output first, then the deeper heads, all resampled to full size.

    Raises:
        ConfigError: The builder is not trusted or cannot be imported, does not accept or does not read an option, or
            returns no torch module.
    """
    if not pretrained and "weights" in spec.options:
        spec = spec.model_copy(update={"options": {**spec.options, "weights": None}})
    builder = import_builder(spec.builder)
    options = _ReadOptions(spec.options)
    try:
        network: Any = builder(spec.model_copy(update={"options": options}))
    except ValidationError as error:
        raise ConfigError(
            f"valid options for {spec.builder}", first_fault(error), "correct the key options in the model profile"
        ) from error
    if ignored := sorted(options.keys() - options.read):
        raise ConfigError(
            f"options that {spec.builder} reads",
            f"{', '.join(ignored)}, which it does not read",
            "correct or remove this key of options in the model profile",
        )
    if not hasattr(network, "named_parameters"):
        raise ConfigError(f"a torch module from {spec.builder}", type(network).__name__, "return the network")
    return network


class _ReadOptions(dict[str, Any]):
    """Options that remember which of their keys were read."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[str]:  # without it, ** and dict() would copy without __getitem__
        return super().__iter__()

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        self.read.add(key)
        return super().pop(key, *default)

    def items(self) -> Any:
        self.read.update(self)
        return super().items()

    def values(self) -> Any:
        self.read.update(self)
        return super().values()

    def copy(self) -> dict[str, Any]:
        return dict(self.items())
