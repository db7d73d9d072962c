"""`minivess measure`: what it reads, refuses and writes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from minivess.cli.main import cli
from minivess.errors import MinivessError


def mask(value: int = 1) -> np.ndarray:
    found = np.zeros((40, 30, 8), np.uint8)
    found[5:35, 12:16, 3:5] = value
    return found


def write(path: Path, voxels: np.ndarray, affine: np.ndarray | None = None) -> None:
    image = nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 5.0, 1.0]) if affine is None else affine)
    image.header.set_xyzt_units("micron")
    nib.save(image, path)


def run(*arguments: object) -> tuple[int, str, str]:
    found = CliRunner().invoke(cli, ["measure", *map(str, arguments)])
    if isinstance(found.exception, MinivessError):  # `main` prints it and sets the exit code
        return found.exception.exit_code, found.stdout, str(found.exception)
    return found.exit_code, found.stdout, found.stderr


def test_tables_graphs_and_page_are_written(tmp_path: Path) -> None:
    write(tmp_path / "a_y.nii.gz", mask())
    write(tmp_path / "b.nii", mask(255))
    code, text, _ = run(tmp_path, "-o", tmp_path / "out", "--json")
    volumes = list(csv.DictReader((tmp_path / "out" / "volumes.csv").read_text().splitlines()))
    assert (code, [row["mask"] for row in volumes]) == (0, ["a", "b"])
    assert json.loads(text)["volumes"][0]["length_um"] == float(volumes[0]["length_um"]) == pytest.approx(29, abs=2)
    assert volumes[0]["length_um"] == volumes[1]["length_um"]
    segments = list(csv.DictReader((tmp_path / "out" / "segments.csv").read_text().splitlines()))
    assert [(row["mask"], row["kind_1"], row["kind_2"]) for row in segments] == [
        ("a", "end", "end"),
        ("b", "end", "end"),
    ]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "index.html", "segments.csv", "volumes.csv", *(f"{n}.{e}" for n in "ab" for e in ("graphml", "swc", "vtk")),
    }  # fmt: skip


def test_the_voxel_size_of_an_oblique_mask_is_that_along_its_axes(tmp_path: Path) -> None:
    turn = np.array([[0.8, -0.6, 0, 3], [0.6, 0.8, 0, 4], [0, 0, 5, 0], [0, 0, 0, 1.0]])
    write(tmp_path / "straight.nii.gz", mask())
    write(tmp_path / "oblique.nii.gz", mask(), turn)
    _, text, _ = run(tmp_path, "-o", tmp_path / "out", "--json")
    first, second = json.loads(text)["volumes"]
    assert first["length_um"] == pytest.approx(second["length_um"], rel=1e-5)


def test_a_tiff_mask_needs_a_voxel_size(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ascontiguousarray(mask().T), photometric="minisblack")
    code, _, error = run(tmp_path / "a.tif", "-o", tmp_path / "out")
    assert (code, "--spacing-um" in error, (tmp_path / "out").exists()) == (3, True, False)
    write(tmp_path / "a.nii.gz", mask())
    sizes = [json.loads(run(path, "-o", tmp_path / path.name[-3:], "--spacing-um", "1,1,5", "--json")[1]) for path in
             (tmp_path / "a.tif", tmp_path / "a.nii.gz")]  # fmt: skip
    assert sizes[0]["volumes"] == sizes[1]["volumes"]


def test_a_mask_that_cannot_be_measured_is_named_and_the_others_are_measured(tmp_path: Path) -> None:
    write(tmp_path / "good.nii.gz", mask())
    write(tmp_path / "labels.nii.gz", mask() * 2 + np.eye(40, 30, dtype=np.uint8)[..., None])
    (tmp_path / "broken.nii.gz").write_bytes(b"no volume")
    code, _, error = run(tmp_path, "-o", tmp_path / "out")
    assert (code, "broken" in error) == (3, True)
    (tmp_path / "broken.nii.gz").unlink()
    code, _, error = run(tmp_path, "-o", tmp_path / "out")
    assert (code, "labels" in error) == (3, True)
    assert [row["mask"] for row in csv.DictReader((tmp_path / "out" / "volumes.csv").read_text().splitlines())] == [
        "good"
    ]


def test_nothing_to_measure_has_one_message(tmp_path: Path) -> None:
    code, _, error = run(tmp_path, "-o", tmp_path / "out")
    assert (code, error.count("expected")) == (3, 1)


def test_two_masks_with_one_name_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.nii.gz", mask())
    write(tmp_path / "a_y.nii.gz", mask())
    code, _, error = run(tmp_path, "-o", tmp_path / "out")
    assert (code, "a_y.nii.gz" in error) == (3, True)
