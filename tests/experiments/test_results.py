"""Tests of the comparison of finished cells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from minivess.data.dataset_profile import DatasetProfile, VolumeStats
from minivess.data.splits import Fold, Splits
from minivess.digests import seal, unseal
from minivess.errors import ConfigError, DataError, RunError
from minivess.experiments.config_file import make_config
from minivess.experiments.results import compare_runs, read_results, write_results
from minivess.experiments.run_folder import RunFolder
from minivess.json_files import to_plain, write_state
from minivess.tracking.code import Code


def _run(
    path: Path, shift: float, losses: tuple[str, ...] = ("dice_ce",), micro_batch: int = 1, cldice: bool = True
) -> RunFolder:
    """Make a run folder with two finished cells of two cases each and with known scores.

    Without ``cldice`` it has the scores of an older version. clDice is 0.6, and 0.5 on the Lee skeleton.
    """
    folder = RunFolder(path)
    digests = {f"c{fold}{k}": f"voxels of c{fold}{k}" for fold in (0, 1) for k in (1, 2)}
    facts = {"shape": (9, 9, 9), "spacing_um": (1, 1, 1), "dtype": "uint8", "stored_bytes": 1, "cached_bytes": 1}
    volumes = [VolumeStats(name=name, image="", label="", digest=digest, **facts) for name, digest in digests.items()]
    write_state(folder.profile, DatasetProfile(folder="", volumes=tuple(volumes)))
    write_state(folder.splits, Splits(seed=0, folds=()))
    folder.write_config(make_config({"name": path.name, "losses": list(losses), "folds": 2}, "a test"))
    zeros = {
        "centreline_dsc": 0.5, "measured_masd": 1.0, "measured_masd_voxel": 1.0, "normalised_surface_distance": 0.5,
        "tolerance_um": 2.0, "hausdorff_95": 1.0, "betti0_error": 3, "betti1_error": 0, "foreground_voxels": 9,
        "reference_voxels": 9, "voxel_um3": 1.0, "empty": "",
    }  # fmt: skip
    if cldice:
        zeros["cldice"] = 0.6
    for fold in (0, 1):
        cell = folder.cell("dice_ce", fold)
        cell.path.mkdir(parents=True)
        cell.spec.write_text("{}")
        rows = [
            {"method": "dice_ce", "fold": fold, "case": f"c{fold}{k}", "metrics": {**zeros, "dsc": 0.1 * k + shift}}
            for k in (1, 2)
        ]
        result = {
            "method": "dice_ce",
            "fold": fold,
            "steps": 1,
            "seconds": 1.0,
            "note": "",
            "micro_batch": micro_batch if fold else 1,
            "rows": rows,
        }
        cell.result.write_text(json.dumps(result))
    return folder


class TestResults:
    def test_saved_comparison_is_used_again(self, tmp_path: Path) -> None:
        run = _run(tmp_path / "a", 0.5)
        first, written = write_results(run), run.comparison.stat().st_mtime_ns  # reading changes st_atime
        assert write_results(run) == read_results(run) == compare_runs([run]) == first
        assert run.comparison.stat().st_mtime_ns == written
        assert run.cases.read_text().splitlines()[1].startswith("dice_ce,0,c01,")

    @pytest.mark.parametrize("change", ["cell", "score", "metrics", "resamples", "damage"])
    def test_is_computed_again_after_cells_or_settings_changed(self, tmp_path: Path, change: str) -> None:
        run = _run(tmp_path / "a", 0.5)
        before = write_results(run)
        config = yaml.safe_load(run.config.read_text())
        if change == "cell":
            run.cell("dice_ce", 1).result.unlink()
        elif change == "score":
            result = run.cell("dice_ce", 1).result
            result.write_text(result.read_text().replace("0.7", "0.71"))
        elif change == "damage":
            run.comparison.write_text("{")
        else:
            config["evaluation"][change] = ["dsc"] if change == "metrics" else 1234
            run.config.write_text(json.dumps(config))
        after = write_results(run)
        assert read_results(run) == after
        assert (after == before) == (change == "damage")

    def test_a_run_that_an_older_version_scored_has_an_empty_column(self, tmp_path: Path) -> None:
        run = _run(tmp_path / "a", 0.5, cldice=False)
        assert "cldice" in write_results(run).notes[0]
        heading, first = (line.split(",") for line in run.cases.read_text().splitlines()[:2])
        assert first[heading.index("cldice")] == ""
        assert first[heading.index("centreline_dsc")] == "0.5"

    def test_intervals_have_the_configured_number_of_resamples(self, tmp_path: Path) -> None:
        run = _run(tmp_path / "a", 0.5)
        values = {"name": "a", "losses": ["dice_ce"], "folds": 2, "evaluation": {"resamples": 1234}}
        run.write_config(make_config(values, "a test"))
        assert write_results(run).metric("dsc").methods[0].interval.resamples == 1234

    def test_no_finished_cell_is_an_error_even_with_older_results(self, tmp_path: Path) -> None:
        run = _run(tmp_path / "a", 0.5)
        write_results(run)
        for fold in (0, 1):
            run.cell("dice_ce", fold).result.unlink()
        with pytest.raises(RunError, match="a finished cell"):
            write_results(run)

    def test_loss_without_finished_cells_is_listed_as_absent(self, tmp_path: Path) -> None:
        found = write_results(_run(tmp_path / "a", 0.5, losses=("dice_ce", "warp")))
        assert found.absent == ("warp",)
        assert any("warp" in note for note in found.notes)

    def test_cells_with_fewer_patches_per_pass_are_noted(self, tmp_path: Path) -> None:
        notes = write_results(_run(tmp_path / "a", 0.5, micro_batch=2)).notes
        assert "1 in dice_ce-fold0" in notes[-1]

    def test_code_that_changed_with_permission_is_noted(self, tmp_path: Path) -> None:
        folder = _run(tmp_path / "a", 0.5)
        assert "--accept-changed-code" not in " ".join(write_results(folder).notes)
        for fold, digest in ((0, "a"), (1, "b")):
            code = Code(commit=None, libraries={"torch": "2"}, package={"losses": digest}, builders={})
            write_state(folder.cell("dice_ce", fold).next_environment, {"minivess": "0", "code": to_plain(code)})
        note = write_results(folder).notes[-1]
        assert all(text in note for text in ("--accept-changed-code", "losses", "(dice_ce-fold1)"))

    @pytest.mark.parametrize(("digests", "noted"), [(("a", "a"), False), (("a", "b"), True)])
    def test_an_own_loss_is_compared_with_itself_only(
        self, tmp_path: Path, digests: tuple[str, str], noted: bool
    ) -> None:
        """The first cell uses no loss of its own; that the others do is no change of the code."""
        folder = _run(tmp_path / "a", 0.5)
        for fold, own in ((0, {}), (1, {"my:loss": digests[0]}), (1, {"my:loss": digests[1]})):
            code = Code(commit=None, libraries={"torch": "2"}, package={}, builders=own)
            write_state(folder.cell("dice_ce", fold).next_environment, {"minivess": "0", "code": to_plain(code)})
        assert ("--accept-changed-code" in " ".join(write_results(folder).notes)) == noted


class TestCompareRuns:
    def test_one_run_with_the_configured_or_other_metrics(self, tmp_path: Path) -> None:
        run = _run(tmp_path / "a", 0.5)
        assert [metric.metric for metric in compare_runs([run]).metrics] == ["cldice", "dsc", "measured_masd"]
        (betti,) = compare_runs([run], ["betti0_error"]).metrics
        assert betti.methods[0].interval.mean == 3
        with pytest.raises(ConfigError, match="hausdorff_95"):
            compare_runs([run], ["hausdorf"])

    def test_cldice_of_old_and_new_runs_is_compared_on_one_skeleton_by_name(self, tmp_path: Path) -> None:
        runs = [_run(tmp_path / "new", 0.5), _run(tmp_path / "old", 0.5, cldice=False)]
        found = compare_runs(runs)
        assert [metric.metric for metric in found.metrics] == ["centreline_dsc", "dsc", "measured_masd"]
        assert [score.interval.mean for score in found.metrics[0].methods] == [0.5, 0.5]
        assert "old/dice_ce-fold0" in found.notes[0]
        assert "new/dice_ce-fold0" not in found.notes[0]
        with pytest.raises(DataError, match="compare centreline_dsc"):
            compare_runs(runs, ["clDice"])

    def test_losses_of_several_runs_are_prefixed_with_the_run(self, tmp_path: Path) -> None:
        comparison = compare_runs([_run(tmp_path / "a", 0.5), _run(tmp_path / "b", 0.6)])
        assert comparison.methods == ("a/dice_ce", "b/dice_ce")
        assert comparison.metric("dsc").pairs[0].test.difference == pytest.approx(-0.1)

    def test_runs_with_the_same_name_are_distinguished_by_parent_folders(self, tmp_path: Path) -> None:
        comparison = compare_runs([_run(tmp_path / "old" / "a", 0.5), _run(tmp_path / "new" / "a", 0.6)], ["DSC"])
        assert comparison.methods == ("old/a/dice_ce", "new/a/dice_ce")

    def test_run_given_twice_is_refused(self, tmp_path: Path) -> None:
        run = _run(tmp_path / "a", 0.5)
        with pytest.raises(ConfigError, match="each run once"):
            compare_runs([run, RunFolder(tmp_path / "b" / ".." / "a")])

    def test_scores_with_another_tolerance_are_refused(self, tmp_path: Path) -> None:
        runs = [_run(tmp_path / "a", 0.5), _run(tmp_path / "b", 0.6)]
        values = {"name": "b", "losses": ["dice_ce"], "folds": 2, "evaluation": {"tolerance_um": 3.0}}
        runs[1].write_config(make_config(values, "a test"))
        with pytest.raises(DataError, match="2 µm and 3 µm"):
            compare_runs(runs)

    def test_baseline_is_recognised_without_being_configured(self, tmp_path: Path) -> None:
        with_baseline = _run(tmp_path / "b", 0.6)
        for fold in (0, 1):
            result = with_baseline.cell("dice_ce", fold).result
            result.write_text(result.read_text().replace("dice_ce", "frangi"))
        for order in ((tmp_path / "a", tmp_path / "b"), (tmp_path / "b", tmp_path / "a")):
            runs = [RunFolder(path) if path.exists() else _run(path, 0.5) for path in order]
            assert compare_runs(runs).losses == ("a/dice_ce",)

    def test_different_voxels_under_the_same_name_are_refused(self, tmp_path: Path) -> None:
        runs = [_run(tmp_path / "a", 0.5), _run(tmp_path / "b", 0.6)]
        edited = unseal(runs[1].profile.read_text()).replace("voxels of c11", "edited")
        runs[1].profile.write_text(seal(edited))
        with pytest.raises(DataError, match="c11"):
            compare_runs(runs)

    def test_other_unknown_voxels_are_refused_and_those_of_a_run_are_noted(self, tmp_path: Path) -> None:
        runs = [_run(tmp_path / "a", 0.5), _run(tmp_path / "b", 0.6)]
        assert not any("labelled" in note for note in compare_runs(runs).notes)
        profile = runs[1].read_profile()
        volumes = tuple(volume.model_copy(update={"known_voxels": 73}) for volume in profile.volumes)
        write_state(runs[1].profile, profile.model_copy(update={"volumes": volumes, "ignore_value": 255}))
        with pytest.raises(DataError, match="unknown voxels"):
            compare_runs(runs)
        assert any("Only 10.0% of the voxels" in note for note in compare_runs(runs[1:]).notes)

    @pytest.mark.parametrize("other", ["an2", ""])
    def test_runs_with_other_groups_are_refused(self, tmp_path: Path, other: str) -> None:
        runs = [_run(tmp_path / "a", 0.5), _run(tmp_path / "b", 0.6)]
        for run, group in zip(runs, ("an1", other), strict=True):
            folds = tuple(Fold(train=(), held_out=(f"c{k}1", f"c{k}2")) for k in (0, 1))
            groups = {case: "an1" for fold in folds for case in fold.held_out}
            write_state(run.splits, Splits(seed=0, folds=folds, groups={**groups, "c11": group} if group else {}))
        with pytest.raises(DataError, match=rf"{other or 'no group'} in {runs[1].path}"):
            compare_runs(runs)

    def test_no_finished_cell_is_an_error(self, tmp_path: Path) -> None:
        folder = RunFolder(tmp_path / "empty")
        folder.write_config(make_config({"name": "empty", "losses": ["dice_ce"]}, "a test"))
        with pytest.raises(RunError, match="a finished cell"):
            compare_runs([folder])
