"""Segment volumes without training or labels, by scikit-image alone: a method of another tool for `minivess score`.

    python benchmarks/sato_masks.py DATA/raw MASKS      (two minutes for the seven VesselNN volumes)

Sato's tubeness filter with scales of 1 to 6 µm in the plane, then Otsu's threshold.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from skimage.filters import sato, threshold_otsu

SCALES_UM = (1.0, 2.0, 4.0, 6.0)


def segment(image: np.ndarray, pixel_um: float) -> np.ndarray:
    """Return the mask (X, Y, Z) of an image; each slice is filtered alone."""
    scales = [scale / pixel_um for scale in SCALES_UM]
    tubes = np.stack([sato(image[..., z].astype(float), scales, black_ridges=False) for z in range(image.shape[2])], -1)
    return tubes > threshold_otsu(tubes)


def main() -> None:
    source, target = map(Path, sys.argv[1:3])
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.nii.gz")):
        image = nib.load(path)
        mask = segment(np.asarray(image.dataobj), float(image.header.get_zooms()[0]))
        header = image.header.copy()
        header.set_data_dtype(np.uint8)
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), image.affine, header), target / path.name)


if __name__ == "__main__":
    main()
