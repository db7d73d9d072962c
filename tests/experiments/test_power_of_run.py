"""Tests of the rule of a comparison in a run: configuration, results, and what it can show."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from minivess.data.dataset_profile import DatasetProfile
from minivess.data.splits import Fold, Splits
from minivess.errors import ConfigError
from minivess.experiments.config import ExperimentConfig
from minivess.experiments.config_file import make_config
from minivess.experiments.power_of_run import predict_power
from minivess.experiments.results import compare_runs, write_results
from minivess.experiments.resume import refuse_another_experiment
from minivess.experiments.run_folder import RunFolder
from minivess.json_files import write_state

RULE = {"primary": "dsc", "margin": 0.02, "against": "dice_ce"}
SCORES = {
    "centreline_dsc": 0.5, "cldice": 0.5, "measured_masd": 1.0, "measured_masd_voxel": 1.0, "hausdorff_95": 1.0,
    "normalised_surface_distance": 0.5, "tolerance_um": 2.0, "betti0_error": 3, "betti1_error": 0,
    "foreground_voxels": 9, "reference_voxels": 9, "voxel_um3": 1.0, "empty": "",
}  # fmt: skip


def config(path: Path, **keys: Any) -> ExperimentConfig:
    values = {"name": "one", "output_dir": path, "losses": ["dice_ce", "cbdice"], "folds": 2, "comparison": RULE}
    return make_config({**values, **keys}, "a test")


def finished(path: Path, ahead: float = 0.1, spread: float = 0.01, **keys: Any) -> RunFolder:
    """Make a finished run of 12 cases; the second loss is ahead of the first, on average, with this spread."""
    folder, rng = RunFolder(path / str(keys.get("name", "one"))), np.random.default_rng(0)
    write_state(folder.profile, DatasetProfile(folder="", volumes=()))
    folder.write_config(config(path, **keys))
    for loss, mean, sd in (("dice_ce", 0.6, 0), ("cbdice", 0.6 + ahead, spread)):
        for fold in (0, 1):
            cell = folder.cell(loss, fold)
            cell.path.mkdir(parents=True)
            cell.spec.write_text("{}")
            rows = [
                {
                    "method": loss,
                    "fold": fold,
                    "case": f"c{fold}{k}",
                    "metrics": {**SCORES, "dsc": rng.normal(mean, sd)},
                }
                for k in range(6)
            ]
            facts = {
                "method": loss,
                "fold": fold,
                "steps": 1,
                "seconds": 1.0,
                "note": "",
                "micro_batch": 1,
                "rows": rows,
            }
            cell.result.write_text(json.dumps(facts))
    return folder


def splits(cases: int = 24, folds: int = 3) -> Splits:
    names = [f"mv{k:02d}" for k in range(cases)]
    return Splits(seed=0, folds=tuple(Fold(train=(), held_out=tuple(names[k::folds])) for k in range(folds)))


class TestConfig:
    def test_values_that_are_left_out_are_filled_in_and_saved(self, tmp_path: Path):
        rule = config(tmp_path, comparison={}).comparison
        assert (rule.primary, rule.margin, rule.against, rule.level) == ("cldice", 0.01, "dice_ce", 0.95)
        assert config(tmp_path, comparison={}, losses=["cbdice", "warp"]).comparison.against == "cbdice"

    @pytest.mark.parametrize(
        ("rule", "words"),
        [
            ({"primary": "dicee"}, "primary: a known metric"),
            ({"against": "cbdicee"}, "cbdice"),
            ({"margin": 0}, "comparison.margin"),
            ({"level": 1}, "comparison.level"),
            ({"margins": 0.1}, "margin"),
        ],
    )
    def test_a_wrong_value_is_named(self, tmp_path: Path, rule: dict[str, Any], words: str):
        with pytest.raises(ConfigError) as caught:
            config(tmp_path, comparison=rule)
        assert words in str(caught.value)

    def test_another_comparison_is_refused_with_the_command_that_evaluates_it(self, tmp_path: Path):
        folder = RunFolder(tmp_path / "one")
        folder.path.mkdir()
        folder.write_config(config(tmp_path))
        refuse_another_experiment(config(tmp_path), folder)
        with pytest.raises(ConfigError) as caught:
            refuse_another_experiment(config(tmp_path, comparison={**RULE, "margin": 0.05}), folder)
        assert "--primary dsc --margin 0.05 --against dice_ce --level 0.95" in caught.value.cure
        assert "0.02 then, 0.05 now" in caught.value.got
        options = re.findall(r"--set (\S+)=([^\s)]+)", caught.value.cure)
        restored = {key.removeprefix("comparison."): yaml.safe_load(value) for key, value in options}
        refuse_another_experiment(config(tmp_path, comparison={**RULE, "margin": 0.05, **restored}), folder)

    def test_a_comparison_that_was_added_is_refused_with_the_setting_that_removes_it(self, tmp_path: Path):
        folder = RunFolder(tmp_path / "one")
        folder.path.mkdir()
        folder.write_config(config(tmp_path, comparison=None))
        with pytest.raises(ConfigError, match=r"--set comparison=null\)"):
            refuse_another_experiment(config(tmp_path), folder)


class TestResults:
    def test_the_rule_of_the_run_decides_and_is_saved(self, tmp_path: Path):
        found = write_results(finished(tmp_path))
        assert found.decision.loss("cbdice").verdict == "better"
        assert (found.decision.beforehand, found.decision.rule.margin) == (True, 0.02)
        assert [metric.metric for metric in found.metrics] == ["dsc", "cldice", "measured_masd"]

    def test_a_rule_that_is_chosen_afterwards_says_so_and_writes_nothing(self, tmp_path: Path):
        folder = finished(tmp_path)
        saved = write_results(folder)
        text = folder.comparison.read_text()
        decision = compare_runs([folder], rule={"margin": 0.2}).decision
        assert (decision.beforehand, decision.fixed) == (False, saved.decision.rule)
        assert decision.loss("cbdice").verdict == "equivalent"
        assert folder.comparison.read_text() == text
        assert compare_runs([folder], rule={"margin": 0.02}) == saved  # the same rule was fixed beforehand

    def test_the_margin_of_another_metric_is_not_kept(self, tmp_path: Path):
        rule = compare_runs([finished(tmp_path)], rule={"primary": "MASD"}).decision.rule
        assert (rule.primary, rule.margin) == ("measured_masd", 0.1)

    def test_a_run_without_a_rule_can_be_decided_afterwards(self, tmp_path: Path):
        folder = finished(tmp_path, comparison=None)
        assert write_results(folder).decision is None
        decision = compare_runs([folder], rule={"primary": "dsc"}).decision
        assert (decision.fixed, decision.rule.against) == (None, "dice_ce")

    def test_a_changed_rule_makes_the_comparison_again(self, tmp_path: Path):
        folder = finished(tmp_path)
        write_results(folder)
        folder.write_config(config(tmp_path, comparison={**RULE, "margin": 0.3}))
        assert write_results(folder).decision.loss("cbdice").verdict == "equivalent"


class TestPower:
    def test_it_is_that_of_students_t_if_only_cases_vary(self, tmp_path: Path):
        """24 cases with a standard deviation of 0.1: an error of 0.0204, so 0.8 needs 0.01 + 0.0204 (2.07 + 0.86)."""
        self.write(tmp_path / "before", 0.1)
        found = predict_power(config(tmp_path, comparison={"primary": "dsc", "margin": 0.01}), splits())
        assert found.detectable == pytest.approx(0.07, abs=0.006)
        assert (found.difference, found.cases, found.losses) == (0.05, 24, 1)
        assert "before" in found.source

    def test_more_cases_and_a_smaller_spread_show_more(self, tmp_path: Path):
        plan = config(tmp_path, comparison={**RULE, "margin": 0.005})
        few, many = (predict_power(plan, splits(cases)).found for cases in (7, 70))
        assert few < many - 0.2
        assert "assumed" in predict_power(plan, splits()).source

    def test_cases_of_one_animal_show_less_than_cases_of_many(self, tmp_path: Path):
        plan, names = config(tmp_path), [f"mv{k:02d}" for k in range(24)]
        groups = {name: f"rat{k % 3}" for k, name in enumerate(names)}
        alone, grouped = (
            predict_power(plan, folds) for folds in (splits(), splits().model_copy(update={"groups": groups}))
        )
        assert (alone.groups, grouped.groups) == (None, 3)
        assert grouped.detectable > 1.5 * alone.detectable

    def test_more_repeats_show_more(self, tmp_path: Path):
        """One repeat is left out: it shows a difference of these networks, not of the losses."""
        few, many = (predict_power(config(tmp_path, repeats=repeats), splits()) for repeats in (2, 8))
        assert (few.repeats, many.repeats) == (2, 8)
        assert many.detectable < few.detectable

    def test_more_losses_show_less(self, tmp_path: Path):
        plan = config(tmp_path, losses=["dice_ce", "cbdice", "warp", "dice_ce_cldice"])
        more, one = predict_power(plan, splits()), predict_power(config(tmp_path), splits())
        assert (more.losses, one.losses) == (3, 1)
        assert more.detectable > 1.05 * one.detectable

    def test_there_is_none_without_a_rule_or_a_second_loss(self, tmp_path: Path):
        assert predict_power(config(tmp_path, comparison=None), splits()) is None
        assert predict_power(config(tmp_path, losses=["dice_ce"], comparison=RULE), splits()) is None

    @pytest.mark.parametrize("text", ["", "method,fold,case,dsc\na,0", "method,fold,case,dsc\na,0,c,x\n", "\0"])
    def test_a_damaged_file_of_an_earlier_run_is_left_out(self, tmp_path: Path, text: str):
        (tmp_path / "before" / "results").mkdir(parents=True)
        (tmp_path / "before" / "results" / "cases.csv").write_text(text)
        assert "assumed" in predict_power(config(tmp_path), splits()).source

    @staticmethod
    def write(run: Path, sd: float) -> None:
        """Write the cases of a run with two losses whose difference has exactly this standard deviation."""
        differences = np.random.default_rng(0).normal(size=24)
        differences = sd * (differences - differences.mean()) / differences.std(ddof=1)
        (run / "results").mkdir(parents=True)
        with (run / "results" / "cases.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["method", "fold", "case", "dsc"])
            for k, difference in enumerate(differences):
                table.writerow(["dice_ce", 0, f"c{k}", 0.5])
                table.writerow(["cbdice", 0, f"c{k}", 0.5 + difference])
