"""`minivess check-labels` on a run: which masks are asked, the table and the page."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from minivess.cli.main import cli
from minivess.data.formats.nifti import read_volume, write_volume
from minivess.errors import DataError
from minivess.experiments.check_labels import ask, check_labels
from minivess.experiments.run_folder import RunFolder
from minivess.json_files import write_state


@pytest.fixture
def run(copied: Callable[[], RunFolder]) -> RunFolder:
    """Both networks of a2 see a vessel that its label does not have; one of those of a3 does."""
    folder = copied()
    for case, losses in (("a2", ("dice_ce", "cbdice")), ("a3", ("dice_ce",))):
        for loss in losses:
            (path,) = folder.path.glob(f"cells/{loss}-fold*/predictions/{case}.nii.gz")
            mask = read_volume(path).copy()
            mask[2:20, 14:18, 1:3] = 1
            write_volume(path, mask, spacing_um=(1.0, 1.0, 5.0))
    return folder


class TestCheckLabels:
    def test_networks_that_have_not_seen_the_case_vote(self, run: RunFolder) -> None:
        asked = ask(run, "a3")
        assert asked.networks == 2  # dice_ce and cbdice; not the threshold
        assert asked.share[10, 15, 1] == 0.5

    def test_the_vessel_that_all_networks_see_is_named(self, run: RunFolder) -> None:
        missing = [one for one in check_labels(run) if one.doubt.kind == "missing"]
        assert [(one.case, one.doubt.first, one.doubt.last) for one in missing] == [("a2", (2, 14, 1), (19, 17, 2))]

    def test_unknown_voxels_are_in_no_doubt(self, run: RunFolder) -> None:
        write_state(run.profile, run.read_profile().model_copy(update={"ignore_value": 255}))
        (volume,) = (volume for volume in run.read_profile().volumes if volume.name == "a2")
        path = Path(str(volume.label))
        before = read_volume(path).copy()
        label = before.copy()
        label[:, 12:] = 255
        try:
            write_volume(path, label, spacing_um=(1.0, 1.0, 5.0))
            assert [one for one in check_labels(run) if one.case == "a2" and one.doubt.kind == "missing"] == []
        finally:
            write_volume(path, before, spacing_um=(1.0, 1.0, 5.0))

    def test_a_mask_with_another_shape_is_named(self, run: RunFolder) -> None:
        path = run.cell("dice_ce", 0).predictions
        (mask, *_) = sorted(path.iterdir())
        write_volume(mask, np.zeros((3, 3, 3), np.uint8), spacing_um=(1.0, 1.0, 5.0))
        with pytest.raises(DataError, match=re.escape(str(mask))):
            check_labels(run)


class TestCommand:
    def test_table_and_page_list_the_regions_in_order(self, run: RunFolder, tmp_path: Path) -> None:
        found = CliRunner().invoke(
            cli, ["check-labels", str(run.path), "-o", str(tmp_path), "--pictures", "2", "--json"]
        )
        summary = json.loads(found.output)
        rows = list(csv.DictReader((tmp_path / "regions.csv").read_text().splitlines()))
        assert [row["case"] for row in rows] == [region["case"] for region in summary["regions"]]
        page = (tmp_path / "index.html").read_text()
        assert page.count('id="region-') == 2 < len(rows)
        assert page.index(f"1. {rows[0]['case']}") < page.index(f"2. {rows[1]['case']}")
        assert not re.search(r'(src|href)="(?!data:)', page)
        code = page[page.index("<script>") + len("<script>") : page.index("</script>")]
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in page  # no other script may run

    def test_a_folder_that_is_no_run_has_one_message(self, tmp_path: Path) -> None:
        found = CliRunner().invoke(cli, ["check-labels", str(tmp_path)])
        assert found.exit_code != 0
        assert not list(tmp_path.iterdir())
