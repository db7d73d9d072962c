"""The parts of MONAI that the networks use, imported without MONAI's optional dependencies.

If they are installed, ``import monai`` loads MLflow, matplotlib, pandas, scikit-learn, scikit-image and much of SciPy
for handlers, plots and transforms that no network uses. They take three quarters of the import time and a third of a
process's memory, in every process that trains, traces or predicts. This module hides them while MONAI is imported. A
package that is already imported stays available.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _not_found(*packages: str) -> Iterator[None]:
    """Make imports of ``packages`` fail inside the context as if they were not installed, by None in sys.modules."""
    hidden = [package for package in packages if package not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for package in hidden:
            del sys.modules[package]


with _not_found("mlflow", "matplotlib", "pandas", "sklearn", "skimage", "scipy", "scipy.signal", "scipy.stats"):
    from monai.networks.blocks.upsample import UpSample
    from monai.networks.nets.dynunet import DynUNet
    from monai.networks.nets.segresnet_ds import SegResBlock, SegResNetDS, aniso_kernel
    from monai.networks.nets.vista3d import ClassMappingClassify

__all__ = ["ClassMappingClassify", "DynUNet", "SegResBlock", "SegResNetDS", "UpSample", "aniso_kernel"]
