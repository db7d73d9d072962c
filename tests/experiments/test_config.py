"""Tests of reading and checking the YAML file of an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from minivess.errors import ConfigError
from minivess.experiments.config_file import load_config, merge

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "experiments").glob("*.yaml"))
assert CONFIGS


def _write(folder: Path, text: str) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(text)
    return path


class TestLoadConfig:
    @pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
    @pytest.mark.parametrize("debug", [False, True])
    def test_every_shipped_file_is_valid(self, path: Path, debug: bool) -> None:
        assert load_config(path, debug=debug).losses

    def test_the_home_folder_is_expanded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        config = load_config(_write(tmp_path, "name: a\nlosses: [dice_ce]\ndata_dir: ~/volumes\n"))
        assert config.data_dir == tmp_path / "volumes"

    @pytest.mark.parametrize(
        "uri",
        [
            "https://me:secret@mlflow.lab",
            "https://secret@mlflow.lab",
            "postgresql://me:sec/secret@lab/db",
            "postgresql://lab/db?password=secret",
        ],
    )
    def test_password_is_refused_and_not_shown(self, tmp_path: Path, uri: str) -> None:
        path = _write(tmp_path, f"name: a\nlosses: [dice_ce]\ntracking_uri: {uri}\n")
        with pytest.raises(ConfigError, match="MLFLOW_TRACKING_PASSWORD") as caught:
            load_config(path)
        assert "secret" not in str(caught.value)

    def test_wrong_debug_key_is_reported_even_without_debug(self, tmp_path: Path) -> None:
        path = _write(tmp_path, "name: a\nlosses: [dice_ce]\ndebug:\n  training: {max_epoch: 3}\n")
        with pytest.raises(ConfigError, match=r"training\.max_epoch.*line 4.*did you mean 'max_epochs'"):
            load_config(path)

    def test_debug_that_is_not_a_group_of_keys_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="debug"):
            load_config(_write(tmp_path, "name: a\nlosses: [dice_ce]\ndebug: true\n"))

    def test_unknown_key_is_named_with_file_line_and_nearest_key(self, tmp_path: Path) -> None:
        path = _write(tmp_path, "name: a\nlosses: [dice_ce]\ntraining:\n  max_epochs: 3\n  learning_rte: 0.1\n")
        with pytest.raises(
            ConfigError, match=r"training\.learning_rte.*experiment\.yaml, line 5.*did you mean 'learning_rate'"
        ):
            load_config(path)

    def test_wrong_value_is_named_with_its_line(self, tmp_path: Path) -> None:
        path = _write(tmp_path, "name: a\nlosses: [dice_ce]\nfolds: three\n")
        with pytest.raises(ConfigError, match=r"folds.*'three'.*line 3"):
            load_config(path)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("losses: [dice_ce]\n", "the key 'name'"),
            ("name: a\nlosess: [dice_ce]\n", "losess.*line 2.*did you mean 'losses'"),
            ("name: a/b\nlosses: [dice_ce]\n", "folder name"),
            (
                "name: store\nlosses: [dice_ce]\n",
                r"such as 'store-1'; got 'store'",
            ),
            ("name: mlartifacts\nlosses: [dice_ce]\n", "such as 'mlartifacts-1'"),
            ("name: mlflow.db.lock\nlosses: [dice_ce]\n", "such as 'mlflow-1'"),
            (
                "name: a\ntraining: {max_epochs: 3}\nlosses: [dice_ce]\ntraining:\n  augment: false\n",
                r"experiment\.yaml: line 4 .*'training'",
            ),
            ("name: a\nlosses: [dice_ce]\nplan:\n  batch: 2\n  batch: 4\n", "line 5 .*'batch'"),
            ("name: a\nlosses: [dice_ce]\nseed: 20250101123456\n", r"seed: 10000000000000 or less; got .* line 3"),
            ("name: a\nlosses: []\n", "at least 1 of them"),
            ("name: a\nlosses: [dice_ce, dice_ce]\n", "each loss once"),
            ("name: [a\n", "valid YAML"),
            ("name: 2024-13-45\n", "valid YAML"),
            (
                "name: a\nlosses: [dice_ce]\nevaluation:\n  metrics: [dscc]\n",
                r"evaluation.metrics: a known metric .*did you mean 'DSC'.*dscc.*line 4",
            ),
            ("- a\n", "keys and values"),
        ],
    )
    def test_fault_is_named(self, tmp_path: Path, text: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            load_config(_write(tmp_path, text))

    @pytest.mark.parametrize(
        ("key", "value", "expected"),
        [
            ("training", {"max_epochs": "abc"}, "training.max_epochs: a whole number; got 'abc' (--set)"),
            ("folds", 0, "folds: 1 or more; got 0 (--set)"),
            ("losses", "dice_ce", "losses: a list, such as [a, b]; got 'dice_ce' (--set)"),
            ("model", "dynunet", "model: a group of keys; got 'dynunet' (--set)"),
            ("training", {"augment": "maybe"}, "training.augment: true or false; got 'maybe' (--set)"),
            ("plan", {"precision": "fp8"}, "plan.precision: 'fp32', 'bf16' or 'fp16'; got 'fp8' (--set)"),
            ("plan", {"patch_size": [96, 96]}, "more values in plan.patch_size; got [96, 96] (--set)"),
            ("training", {"ema_decay": 1}, "training.ema_decay: less than 1; got 1 (--set)"),
            (
                "training",
                {"max_epoch": 1},
                "a known key; got 'training.max_epoch' (--set). Cure: did you mean 'max_epochs'",
            ),
            ("training", 5, "training: a group of keys; got 5 (--set)"),
            ("limits", {"memory_limit_gib": float("inf")}, "limits.memory_limit_gib: a finite number; got inf (--set)"),
            ("limits", {"memory_limit_gib": 1e300}, "limits.memory_limit_gib: 1000000 or less; got 1e+300 (--set)"),
            ("evaluation", {"tolerance_um": float("inf")}, "evaluation.tolerance_um: a finite number; got inf (--set)"),
            ("evaluation", {"metrics": []}, "evaluation.metrics: at least 1 of them; got [] (--set)"),
            ("training", {"learning_rate": float("nan")}, "training.learning_rate: a finite number; got nan (--set)"),
            ("plan", {"overlap": float("nan")}, "plan.overlap: a finite number; got nan (--set)"),
            (
                "loss_options",
                {"warp": {"weight": float("inf")}},
                "loss_options: finite numbers; got {'warp': {'weight': inf}} (--set)",
            ),
            ("name", "a/b", "name: a usable folder name; got 'a/b' (--set)"),
        ],
    )
    def test_wrong_value_of_an_option_is_named_with_the_option(
        self, tmp_path: Path, key: str, value: Any, expected: str
    ) -> None:
        path = _write(tmp_path, "name: a\nlosses: [dice_ce]\nfolds: 3\nplan: {}\n")
        with pytest.raises(ConfigError) as caught:
            load_config(path, {key: value}, {key: "--set"})
        assert str(caught.value).startswith(f"expected {expected}")

    def test_group_may_override_merged_keys(self, tmp_path: Path) -> None:
        path = _write(
            tmp_path,
            "name: a\nlosses: [warp, cbdice]\nloss_options:\n  warp: &one {weight: 1}\n  cbdice: {<<: *one, weight: 2}\n",
        )
        assert load_config(path).loss_options["cbdice"] == {"weight": 2}

    def test_largest_seed_is_valid_for_torch(self, tmp_path: Path) -> None:
        path = _write(tmp_path, "name: a\nlosses: [dice_ce]\nseed: 10000000000000\n")
        torch.manual_seed(load_config(path).seed * 1_000_003 + 10**9)

    def test_titles_of_metrics_are_accepted(self, tmp_path: Path) -> None:
        path = _write(tmp_path, "name: a\nlosses: [dice_ce]\nevaluation: {metrics: [clDice, dsc]}\n")
        assert load_config(path).evaluation.metrics == ("cldice", "dsc")

    def test_missing_file_is_reported(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"nothing\.yaml"):
            load_config(tmp_path / "nothing.yaml")

    def test_debug_is_short_even_without_debug_keys_for_it(self, tmp_path: Path) -> None:
        path = _write(tmp_path, "name: a\nlosses: [dice_ce]\ndebug:\n  training: {steps_per_epoch: 3}\n")
        short = load_config(path, debug=True)
        assert (short.cases, short.folds, short.training.steps) == (6, 2, 6)

    def test_debug_keys_apply_only_with_debug(self, tmp_path: Path) -> None:
        path = _write(tmp_path, "name: a\nlosses: [dice_ce]\nfolds: 5\ndebug:\n  folds: 2\n")
        assert (load_config(path).folds, load_config(path, debug=True).folds) == (5, 2)

    def test_trial_has_another_name_whatever_the_source_of_the_name(self, tmp_path: Path) -> None:
        path = _write(tmp_path, "name: a\nlosses: [dice_ce]\n")
        assert load_config(path, debug=True).name == "a-debug"
        assert load_config(path, {"name": "b"}, debug=True).name == "b-debug"

    def test_overrides_replace_values_of_the_file(self, tmp_path: Path) -> None:
        path = _write(tmp_path, "name: a\nlosses: [dice_ce]\ntraining: {max_epochs: 3, ema_decay: 0.9}\n")
        training = load_config(path, {"training": {"max_epochs": 7}}).training
        assert (training.max_epochs, training.ema_decay) == (7, 0.9)


class TestMerge:
    def test_merges_dictionaries_and_replaces_other_values(self) -> None:
        assert merge({"a": {"b": 1, "c": [1]}, "d": 2}, {"a": {"c": [2]}}) == {"a": {"b": 1, "c": [2]}, "d": 2}
