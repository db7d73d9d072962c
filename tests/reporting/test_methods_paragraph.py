from __future__ import annotations

from dataclasses import replace

import pytest

from minivess.experiments.run_folder import RunFolder
from minivess.losses.registry import LOSSES
from minivess.reporting.methods_paragraph import SOURCES, methods_paragraph
from minivess.reporting.run_data import read_run_data


class TestMethodsParagraph:
    def test_its_numbers_are_those_of_the_run(self, finished: RunFolder):
        facts = read_run_data(finished)
        training, statistics = methods_paragraph(facts)
        assert f"{len(facts.profile.volumes)} volumes with {facts.config.folds}-fold cross-validation" in training
        assert f"{facts.config.training.steps} steps" in training
        assert "No comparison was fixed" in statistics
        assert "sign-flip tests" in statistics

    def test_repeats_are_named_and_have_another_test(self, finished: RunFolder):
        facts = read_run_data(finished)
        facts = replace(facts, comparison=facts.comparison.model_copy(update={"repeats": 3}))
        _, statistics = methods_paragraph(facts)
        assert "trained 3 times with different seeds" in statistics
        assert "sign-flip" not in statistics

    def test_a_single_split_is_no_cross_validation(self, finished: RunFolder, monkeypatch: pytest.MonkeyPatch):
        facts, splits = read_run_data(finished), finished.read_splits()
        single = splits.model_copy(update={"folds": splits.folds[:1]})
        monkeypatch.setattr(RunFolder, "read_splits", lambda _: single)
        training, _ = methods_paragraph(facts)
        assert f"single split; the networks were scored on {len(single.folds[0].held_out)} held-out" in training
        assert "cross-validation" not in training

    def test_every_built_in_loss_is_cited(self):
        assert SOURCES.keys() == LOSSES.keys()
