"""Tests of the choice of the network that is kept."""

from __future__ import annotations

from pathlib import Path

from minivess.evaluation.evaluate import CaseRow
from minivess.experiments.best_model import find_best_model
from minivess.experiments.cell_spec import CellResult
from minivess.experiments.config_file import make_config
from minivess.experiments.race_record import RaceRecord, Round
from minivess.experiments.run_folder import CellFolder, RunFolder
from minivess.json_files import write_state
from minivess.metrics.case import CaseMetrics
from minivess.statistics.racing import Beaten
from minivess.statistics.rule import ComparisonConfig


def _run(path: Path, metrics: tuple[str, ...] = ("dsc",), **scores: tuple[tuple[float, ...], ...]) -> RunFolder:
    """A run folder with the DSC of each case, by loss and fold; MASD is 10 (1 - DSC). A loss with one fold is not finished."""
    folder = RunFolder(path)
    folder.write_config(
        make_config({"name": "one", "losses": list(scores), "folds": 2, "evaluation": {"metrics": metrics}}, "a test")
    )
    _add(folder, 1, **scores)
    return folder


def _add(folder: RunFolder, repeat: int, **scores: tuple[tuple[float, ...], ...]) -> None:
    """Add finished cells of one repeat, with the DSC of each case by loss and fold."""
    folder.write_config(folder.read_config().model_copy(update={"repeats": repeat}))
    for loss, folds in scores.items():
        for fold, values in enumerate(folds):
            found = [CaseMetrics(dsc, 0.5, 10 * (1 - dsc), 1, 0.5, 2, 1, 0, 0, 9, 9, 1, "") for dsc in values]
            rows = [
                CaseRow(method=loss, fold=fold, case=f"c{fold}{number}", metrics=one, repeat=repeat)
                for number, one in enumerate(found)
            ]
            cell, facts = (
                folder.cell(loss, fold, repeat),
                {"repeat": repeat, "steps": 1, "seconds": 1, "note": "", "micro_batch": 1},
            )
            write_state(cell.result, CellResult(method=loss, fold=fold, rows=tuple(rows), **facts))


class TestFindBestModel:
    def test_is_fold_0_of_the_loss_with_the_best_mean_over_all_cases(self, tmp_path: Path) -> None:
        """The mean over the three cases is 0.7 for warp and 0.6 for dice_ce; fold 1 of dice_ce alone is better."""
        folder = _run(tmp_path, dice_ce=((0.5, 0.4), (0.9,)), warp=((0.7, 0.8), (0.6,)))
        best = find_best_model(folder)
        assert best is not None
        assert (best.loss, best.fold, best.cell, best.rivals) == ("warp", 0, folder.cell("warp", 0), 2)
        assert [row.metrics.dsc for row in best.rows] == [0.7, 0.8, 0.6]

    def test_the_smallest_distance_is_the_best(self, tmp_path: Path) -> None:
        best = find_best_model(
            _run(tmp_path, ("measured_masd", "dsc"), dice_ce=((0.5,), (0.5,)), warp=((0.9,), (0.7,)))
        )
        assert best is not None
        assert (best.loss, best.metric) == ("warp", "measured_masd")

    def test_scores_of_an_older_version_without_cldice_are_compared_in_centreline_dsc(self, tmp_path: Path) -> None:
        best = find_best_model(_run(tmp_path, ("cldice", "dsc"), dice_ce=((0.5,), (0.5,)), warp=((0.9,), (0.7,))))
        assert best is not None
        assert best.metric == "centreline_dsc"

    def test_an_animal_counts_once_however_many_cases_it_has(self, tmp_path: Path) -> None:
        """Over cases warp has 0.7 and dice_ce 0.6; over the animals c0 (3 cases) and c1, 0.55 and 0.6."""
        folder = _run(tmp_path, dice_ce=((0.6, 0.6, 0.6), (0.6,)), warp=((0.8, 0.8, 0.8), (0.3,)))
        for cell in folder.path.glob("cells/*"):
            found = CellFolder(cell).read_result()
            rows = tuple(row.model_copy(update={"group": row.case[:2]}) for row in found.rows)
            write_state(cell / "result.json", found.model_copy(update={"rows": rows}))
        best = find_best_model(folder)
        assert best is not None
        assert best.loss == "dice_ce"

    def test_the_primary_metric_of_the_comparison_leads(self, tmp_path: Path) -> None:
        folder = _run(tmp_path, dice_ce=((0.5,), (0.5,)), warp=((0.9,), (0.7,)))
        rule = ComparisonConfig(primary="measured_masd", against="dice_ce", margin=0.1)
        folder.write_config(folder.read_config().model_copy(update={"comparison": rule}))
        best = find_best_model(folder)
        assert best is not None
        assert (best.loss, best.metric) == ("warp", "measured_masd")

    def test_a_loss_without_all_its_folds_does_not_compete(self, tmp_path: Path) -> None:
        best = find_best_model(_run(tmp_path, dice_ce=((0.5,), (0.5,)), warp=((0.9,),)))
        assert best is not None
        assert (best.loss, best.rivals) == ("dice_ce", 1)
        assert find_best_model(_run(tmp_path / "b", warp=((0.9,),))) is None

    def test_a_loss_that_a_race_stopped_in_a_later_repeat_does_not_compete(self, tmp_path: Path) -> None:
        folder = _run(tmp_path, dice_ce=((0.5,), (0.5,)), warp=((0.9,), (0.9,)))
        _add(folder, 2, dice_ce=((0.5,), (0.5,)))
        write_state(
            folder.race, RaceRecord((Round(0.3, 1, "dsc", "dice_ce", (), (Beaten("warp", "dice_ce", 0.1, 0.01, 9),)),))
        )
        best = find_best_model(folder)
        assert best is not None
        assert (best.loss, best.rivals) == ("dice_ce", 1)

    def test_repeats_that_all_losses_have_are_averaged_and_the_network_is_of_the_first(self, tmp_path: Path) -> None:
        """Over two repeats dice_ce has 0.6 and warp 0.5; only dice_ce has a complete third one, so it does not count."""
        folder = _run(tmp_path, dice_ce=((0.5,), (0.5,)), warp=((0.9,), (0.7,)))
        _add(folder, 2, dice_ce=((0.7,), (0.7,)), warp=((0.2,), (0.2,)))
        _add(folder, 3, dice_ce=((0.0,), (0.0,)), warp=((0.9,),))
        best = find_best_model(folder)
        assert best is not None
        assert (best.loss, best.cell.path.name, best.rivals) == ("dice_ce", "dice_ce-fold0", 2)
        assert [row.metrics.dsc for row in best.rows] == [0.5, 0.5, 0.7, 0.7]
