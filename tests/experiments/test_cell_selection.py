"""Tests of the cells of a run and of their selection."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch

from minivess.data.array_store import Store
from minivess.data.profiler import DatasetProfile
from minivess.data.splits import make_splits
from minivess.errors import ConfigError
from minivess.experiments.cell_selection import CellFilter, cell_specs, count_finished, select_cells
from minivess.experiments.config import ExperimentConfig
from minivess.experiments.config_file import make_config
from minivess.experiments.prepare import Prepared
from minivess.experiments.run_folder import RunFolder
from minivess.json_files import write_state
from minivess.models.model_profile import load_model_profile
from minivess.planning.adaptive_profiles import compute_adaptive_profile
from minivess.planning.cell_slots import cell_slots
from minivess.planning.hardware import HardwareBudget
from minivess.planning.preflight import PreflightResult
from minivess.text import GIB

CONFIG = ExperimentConfig(name="one", losses=("dice_ce", "warp"), folds=2, data_dir=Path("data"))


class TestCellFilter:
    def test_reads_loss_fold_or_both(self) -> None:
        assert CellFilter.parse("loss=warp,fold=1") == CellFilter("warp", 1)
        assert CellFilter.parse("fold=0") == CellFilter(None, 0)
        assert CellFilter.parse("repeat=2, loss=warp") == CellFilter("warp", None, 2)
        assert CellFilter.parse("loss=my_lab.losses:mine") == CellFilter("my_lab.losses:mine", None)

    @pytest.mark.parametrize("text", ["", "warp", "loss=", "fold=one", "fold=-1", "repeat=x", "model=dynunet"])
    def test_other_text_is_refused(self, text: str) -> None:
        with pytest.raises(ConfigError) as caught:
            CellFilter.parse(text)
        assert caught.value.got == repr(text)


class TestCountFinished:
    def test_counts_only_the_cells_of_the_configuration(self, tmp_path: Path) -> None:
        folder = RunFolder(tmp_path)
        write_state(folder.config, CONFIG)
        for method, fold in (("threshold", 1), ("warp", 0), ("no_longer_wanted", 0)):
            folder.cell(method, fold).path.mkdir(parents=True)
            folder.cell(method, fold).result.touch()
        folder.cell("dice_ce", 0).path.mkdir()
        assert count_finished(folder) == (2, 6)


class TestSelectCells:
    def test_misspelt_metric_is_refused_before_training(self) -> None:
        with pytest.raises(ConfigError, match="did you mean 'betti0_error'"):
            make_config({"name": "a", "losses": ["warp"], "evaluation": {"metrics": ["dsc", "betti0_eror"]}}, "a test")

    def test_all_cells_without_a_filter_baselines_first(self) -> None:
        methods = ("threshold", "dice_ce", "warp")
        assert select_cells(CONFIG) == [(method, fold, 1) for method in methods for fold in (0, 1)]

    def test_a_repeat_follows_when_all_losses_have_the_one_before_and_baselines_run_once(self) -> None:
        cells = select_cells(CONFIG.model_copy(update={"repeats": 2}))
        assert [cell.name for cell in cells[:2]] == ["threshold-fold0", "threshold-fold1"]
        trained = [f"{loss}-fold{fold}{end}" for end in ("", "-repeat2") for loss in CONFIG.losses for fold in (0, 1)]
        assert [cell.name for cell in cells[2:]] == trained

    def test_a_filter_of_one_repeat(self) -> None:
        config = CONFIG.model_copy(update={"repeats": 2})
        assert select_cells(config, [CellFilter("warp", 1, 2)]) == [("warp", 1, 2)]
        for absent in (CellFilter(repeat=3), CellFilter("threshold", repeat=2)):
            with pytest.raises(ConfigError, match="a repeat from 1 to 2"):
                select_cells(config, [absent])

    def test_filter_needs_both_parts_and_one_of_several_filters_is_enough(self) -> None:
        assert select_cells(CONFIG, [CellFilter("warp", 1)]) == [("warp", 1, 1)]
        assert select_cells(CONFIG, [CellFilter("warp", 1), CellFilter(None, 0)]) == [
            ("threshold", 0, 1),
            ("dice_ce", 0, 1),
            ("warp", 0, 1),
            ("warp", 1, 1),
        ]

    def test_filter_without_a_match_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"threshold, dice_ce, warp .*got loss=cbdice"):
            select_cells(CONFIG, [CellFilter("warp", 1), CellFilter("cbdice")])
        with pytest.raises(ConfigError, match=r"got loss=dice\. Cure: did you mean 'dice_ce'"):
            select_cells(CONFIG, [CellFilter("dice")])
        with pytest.raises(ConfigError, match="got fold=2"):
            select_cells(CONFIG, [CellFilter(fold=2)])

    def test_unknown_baseline_is_refused(self) -> None:
        config = CONFIG.model_copy(update={"evaluation": CONFIG.evaluation.model_copy(update={"baselines": ("otsu",)})})
        with pytest.raises(ConfigError, match=r"a known baseline \(threshold"):
            select_cells(config)


class TestCellSpecs:
    def test_each_cell_has_its_fold_and_the_settings_of_the_run(
        self, profile: DatasetProfile, store: Store, tmp_path: Path
    ) -> None:
        values = {
            "name": "one", "losses": ["dice_ce", "warp"], "folds": 2, "repeats": 3, "seed": 4, "evaluation": {"tolerance_um": 3.5},
            "loss_options": {"warp": {"strength": 2.0}}, "training": {"max_epochs": 7},
        }  # fmt: skip
        config, machine = make_config(values, "a test"), HardwareBudget.imagined(None, 8 * GIB)
        splits = make_splits(profile.volumes, 2, seed=4)
        plan = compute_adaptive_profile(machine, profile, load_model_profile("dynunet", filters=(4, 8, 8)))
        unchecked = cast(PreflightResult, None)
        slots, folder = cell_slots(machine), RunFolder(tmp_path)
        prepared = Prepared(config, folder, slots, profile, profile, splits, plan, unchecked)
        specs = cell_specs(prepared, store)
        assert [spec.key for spec in specs] == select_cells(config)
        for spec in specs:
            fold = splits.folds[spec.fold]
            assert (spec.train, spec.held_out) == (fold.train, fold.held_out)
            assert (spec.tolerance_um, spec.training) == (3.5, config.training)
            assert (spec.plan, spec.store) == (plan, store.folder)
            assert spec.loss_options == ({"strength": 2.0} if spec.method == "warp" else {})
        seeds = {(spec.method, spec.repeat): spec.seed for spec in specs}
        assert seeds["dice_ce", 1] == 4
        assert all(seeds["dice_ce", repeat] == seeds["warp", repeat] for repeat in (1, 2, 3))
        assert len({seeds["warp", repeat] for repeat in (1, 2, 3)}) == 3

    def test_the_largest_seed_in_the_last_repeat_fits_a_torch_generator(self) -> None:
        config = make_config({"name": "one", "losses": ["warp"], "seed": 10**13, "repeats": 1000}, "a test")
        torch.manual_seed(config.seed_of(1000) * 1_000_003 + 10**6)
