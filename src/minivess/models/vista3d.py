"""VISTA-3D (He et al. 2025), built from MONAI's parts and prompted for one class: vessel.

The automatic branch of VISTA-3D gives one logit per prompted class, for a sigmoid. This network adds a background logit
of zero. The softmax of both equals that sigmoid, so the released weights can be used unchanged. The branch for clicked
points gets no gradient here and is left out.
"""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file

from minivess.errors import ConfigError, DataError, PlanError
from minivess.models.model_profile import NetworkSpec
from minivess.models.monai_parts import ClassMappingClassify, SegResNetDS
from minivess.settings import Settings
from minivess.trusted_code import is_trusted

_BLOCKS_DOWN = (1, 2, 2, 4, 4)
_CLASSES = 512
_PARTS = ("image_encoder.", "class_head.")


class Options(Settings):
    """The key ``options`` of the model profile."""

    prompt: int = Field(
        default=25, ge=0, lt=_CLASSES, description="VISTA-3D class that training starts from; 25 is hepatic vessel"
    )
    weights: Path | None = Field(
        default=None,
        description="pre-trained weights to start from, .safetensors or .pt, such as the released file; null for none",
    )


class _Vista3D(torch.nn.Module):
    """Encoder, automatic decoder and class head. Submodules have the same names as in MONAI's ``VISTA3D``."""

    def __init__(self, in_channels: int, width: int, prompt: int) -> None:
        super().__init__()
        self.prompt = prompt
        self.image_encoder = SegResNetDS(
            in_channels=in_channels, out_channels=width, init_filters=width, blocks_down=_BLOCKS_DOWN, norm="instance"
        )
        self.class_head = ClassMappingClassify(n_classes=_CLASSES, feature_size=width, use_mlp=True)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        prompt = torch.full((1, 1), self.prompt, device=image.device)
        logits, _ = self.class_head(self.image_encoder(image), prompt)
        vessel = logits.transpose(0, 1)
        return torch.cat([torch.zeros_like(vessel), vessel], dim=1)


def build(spec: NetworkSpec) -> torch.nn.Module:
    """Build VISTA-3D, and load pre-trained weights if the options contain a file.

    Args:
        spec: The network.

    Returns:
        Image (B, 1, X, Y, Z) to logits (B, 2, X, Y, Z).

    Raises:
        ConfigError: VISTA-3D does not have these filters, or deep supervision is on.
        PlanError: The patch is a single voxel at the coarsest level, which instance normalisation does not support.
        DataError: The weights cannot be read, or belong to another network.
    """
    options = Options.model_validate(spec.options)
    widths = tuple(spec.filters[0] * 2**level for level in range(len(_BLOCKS_DOWN)))
    if spec.filters != widths or spec.deep_supervision:
        raise ConfigError(
            f"VISTA-3D's filters, which double over {len(widths)} levels ({list(widths)}), and deep_supervision 0",
            f"{list(spec.filters)} and {spec.deep_supervision}",
            "change filters and deep_supervision in the model profile or in the key model",
        )
    if spec.divisor in spec.patches:
        raise PlanError(
            "a patch of at least two voxels at the coarsest level",
            f"{spec.divisor}, which is one voxel",
            "double the patch along X and Y",
        )
    network = _Vista3D(spec.in_channels, widths[0], options.prompt)
    if options.weights is not None:
        _load(network, options.weights.expanduser())
    return network


def _load(network: torch.nn.Module, path: Path) -> None:
    own = network.state_dict()
    given = _automatic_branch(_read(path))
    missing = [name for name in own if name not in given]
    other = [
        f"{name} {tuple(given[name].shape)} for {tuple(value.shape)}"
        for name, value in own.items()
        if name in given and given[name].shape != value.shape
    ]
    if missing or other:
        raise DataError(
            f"VISTA-3D weights with the {len(own)} tensors of this network",
            f"{path}: missing {_listed(missing)}; with another shape {_listed(other)}",
            "set filters to those of the weights ([48, 96, 192, 384, 768] for the released ones), or set weights: null",
        )
    network.load_state_dict({name: given[name] for name in own})


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if not is_trusted(path):
            raise DataError(
                "weights as .safetensors, or a .pt file that you trust",
                f"{path}",
                "convert it to .safetensors, or trust it with --trust-code FILE",
            )
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, UnpicklingError, SafetensorError) as error:
        raise DataError(
            "weights in a .safetensors file, or in a .pt file that contains only tensors",
            f"{path}: {error}",
            "check weights in the options of the model profile",
        ) from error
    return content.get("model", content) if isinstance(content, dict) else {}


def _automatic_branch(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename tensors to the names of this network: remove prefixes of training wrappers, and drop the point branch."""
    found = {}
    for full, value in tensors.items():
        name = next((full[full.index(part) :] for part in _PARTS if part in full), "")
        if name and not name.startswith("image_encoder.up_layers."):
            found[name.replace("up_layers_auto.", "up_layers.")] = value
    return found


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "none"
