"""What networks take from MONAI, imported without what MONAI takes from others.

``import monai`` loads MLflow, matplotlib, pandas, scikit-learn, scikit-image and much of SciPy wherever they are installed, for
handlers, plots and transforms that no network uses: three quarters of its time and a third of a process's memory, paid by every
process that trains, traces or predicts. While it is imported here, it finds none of them; a process that has one already keeps it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _not_found(*packages: str) -> Iterator[None]:
    """Within, an import of ``packages`` fails as if they were not installed: that is what None in sys.modules stands for."""
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
