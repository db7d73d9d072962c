"""What the values of a label mean: background, vessel, and voxels of which nothing is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNKNOWN = 255
"""Value of an unknown voxel in the store, whatever it is in the file of the label."""

_SAME = 1e-5


@dataclass(frozen=True, eq=False)
class LabelBlock:
    """A block of a label, of any shape.

    Attributes:
        vessel: Bool, True in vessel voxels; NaN counts as vessel, so that the checks find it.
        unknown: Bool, True in unknown voxels; None if the label has no value for them.
    """

    vessel: NDArray[np.bool_]
    unknown: NDArray[np.bool_] | None

    @classmethod
    def of(cls, values: NDArray, ignore_value: int | None) -> LabelBlock:
        """Divide the values of a label, with slope and intercept applied; whatever is not background is vessel.

        Args:
            values: Values of any real data type.
            ignore_value: Value of unknown voxels; None if every voxel is known.
        """
        vessel = values != 0
        if ignore_value is None:
            return cls(vessel, None)
        unknown = find_unknown(values, ignore_value)
        return cls(vessel & ~unknown, unknown)

    def stored(self) -> NDArray[np.uint8]:
        """The block as the store has it: 0, 1, and ``UNKNOWN`` in unknown voxels. It may share memory with ``vessel``."""
        values = self.vessel.view(np.uint8)
        return values if self.unknown is None else np.where(self.unknown, np.uint8(UNKNOWN), values)


def find_unknown(values: NDArray, ignore_value: int) -> NDArray[np.bool_]:
    """Return a bool array, True where a label has the value of unknown voxels, also after rounding of its scaling."""
    if values.dtype.kind == "f":
        near: NDArray[np.bool_] = np.abs(values - ignore_value) <= _SAME * abs(ignore_value)
        return near
    same: NDArray[np.bool_] = values == ignore_value
    return same
