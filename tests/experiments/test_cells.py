"""Which cells a run has, and which of them are wanted now."""

from __future__ import annotations

from pathlib import Path

import pytest

from minivess.errors import ConfigError
from minivess.experiments.cells import Only, chosen
from minivess.experiments.config import EvaluationConfig, ExperimentConfig

CONFIG = ExperimentConfig(name="one", losses=("dice_ce", "warp"), folds=2, data_dir=Path("data"))


class TestOnly:
    def test_reads_loss_and_fold_or_one_of_them(self) -> None:
        assert Only.parse("loss=warp,fold=1") == Only("warp", 1)
        assert Only.parse("fold=0") == Only(None, 0)
        assert Only.parse("loss=my_lab.losses:mine") == Only("my_lab.losses:mine", None)

    @pytest.mark.parametrize("text", ["", "warp", "loss=", "fold=one", "fold=-1", "model=dynunet"])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(ConfigError, match="loss=NAME, fold=NUMBER or both"):
            Only.parse(text)


class TestChosen:
    def test_a_misspelt_metric_is_refused_before_anything_is_trained(self) -> None:
        config = CONFIG.model_copy(update={"evaluation": EvaluationConfig(metrics=("dsc", "betti0_eror"))})
        with pytest.raises(ConfigError, match="did you mean 'betti0_error'"):
            chosen(config)

    def test_all_without_a_filter_baselines_first(self) -> None:
        methods = ("threshold", "dice_ce", "warp")
        assert chosen(CONFIG) == [(method, fold) for method in methods for fold in (0, 1)]

    def test_within_a_filter_both_hold_and_of_several_filters_any(self) -> None:
        assert chosen(CONFIG, [Only("warp", 1)]) == [("warp", 1)]
        assert chosen(CONFIG, [Only("warp", 1), Only(None, 0)]) == [
            ("threshold", 0),
            ("dice_ce", 0),
            ("warp", 0),
            ("warp", 1),
        ]

    def test_a_filter_that_matches_nothing_is_refused(self) -> None:
        with pytest.raises(
            ConfigError, match=r"one of threshold, dice_ce, warp and a fold from 0 to 1; got loss=cbdice"
        ):
            chosen(CONFIG, [Only("warp", 1), Only("cbdice")])
        with pytest.raises(ConfigError, match="got fold=2"):
            chosen(CONFIG, [Only(fold=2)])

    def test_an_unknown_baseline_is_refused(self) -> None:
        config = CONFIG.model_copy(update={"evaluation": CONFIG.evaluation.model_copy(update={"baselines": ("otsu",)})})
        with pytest.raises(ConfigError, match="baselines among threshold"):
            chosen(config)
