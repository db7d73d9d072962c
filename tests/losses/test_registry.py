from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import minivess.losses
from minivess.errors import ConfigError
from minivess.losses.registry import LOSSES, build_loss, require_known

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture
def temporary_name():
    yield "my_loss"
    LOSSES.pop("my_loss", None)


class TestBuildLoss:
    def test_package_exports_losses_and_build_loss(self):
        assert minivess.losses.LOSSES is LOSSES
        assert minivess.losses.build_loss is build_loss

    def test_unknown_name_lists_known_names_and_suggests_the_nearest(self):
        with pytest.raises(ConfigError) as caught:
            build_loss("dicece")
        assert "dice_ce, dice_ce_cldice, cbdice, cbdice_cldice" in caught.value.expected
        assert "dicece" in caught.value.got
        assert "'dice_ce'" in caught.value.cure

    def test_unknown_option_lists_known_options_and_suggests_the_nearest(self):
        with pytest.raises(ConfigError) as caught:
            build_loss("cbdice", iteration=3)
        assert "iterations, smooth" in caught.value.expected
        assert "'iteration'" in caught.value.got
        assert "'iterations'" in caught.value.cure

    def test_option_of_a_loss_without_options_is_refused(self):
        with pytest.raises(ConfigError) as caught:
            build_loss("dice_ce", iterations=3)
        assert "dice_ce" in caught.value.expected
        assert "iterations" in caught.value.got


class TestScnp:
    def test_options_reach_the_loss(self):
        with pytest.raises(ConfigError) as caught:
            build_loss("scnp_cbdice", iteration=3)
        assert "'iterations'" in caught.value.cure

    def test_unknown_loss_after_it_is_refused_with_the_known_ones(self):
        with pytest.raises(ConfigError) as caught:
            build_loss("scnp_nonsense")
        assert "'nonsense'" in caught.value.got
        assert "dice_ce, " in caught.value.expected

    def test_is_refused_twice(self):
        with pytest.raises(ConfigError) as caught:
            require_known("scnp_scnp_dice_ce")
        assert "'scnp_scnp_dice_ce'" in caught.value.got
        assert "remove" in caught.value.cure

    def test_import_path_that_starts_with_it_is_a_package(self):
        with pytest.raises(ConfigError) as caught:
            build_loss("scnp_torch.nn:CrossEntropyLoss")
        assert "'scnp_torch.nn:CrossEntropyLoss'" in caught.value.got

    def test_entry_of_that_name_comes_first(self, monkeypatch):
        monkeypatch.setitem(LOSSES, "scnp_dice_ce", nn.CrossEntropyLoss)
        assert isinstance(build_loss("scnp_dice_ce"), nn.CrossEntropyLoss)


class TestOpenRegistry:
    def test_entry_is_built_with_its_options(self, temporary_name):
        LOSSES[temporary_name] = lambda weight: nn.CrossEntropyLoss(label_smoothing=weight)
        assert build_loss(temporary_name, weight=0.1).label_smoothing == 0.1

    def test_missing_option_is_named(self, temporary_name):
        LOSSES[temporary_name] = lambda weight: nn.CrossEntropyLoss(label_smoothing=weight)
        with pytest.raises(ConfigError) as caught:
            build_loss(temporary_name)
        assert "'weight'" in caught.value.got

    def test_builder_is_found_by_import_path(self):
        assert isinstance(build_loss("torch.nn:CrossEntropyLoss", label_smoothing=0.1), nn.CrossEntropyLoss)

    @pytest.mark.parametrize(
        ("name", "missing"), [("no_such_package:loss", "no_such_package"), ("torch.nn:NoSuchLoss", "NoSuchLoss")]
    )
    def test_builder_that_cannot_be_imported_is_reported(self, name, missing):
        with pytest.raises(ConfigError) as caught:
            build_loss(name)
        assert name in caught.value.got
        assert missing in caught.value.got
        assert "PYTHONPATH" in caught.value.cure

    def test_example_of_the_docs_has_a_gradient_and_equals_dice_ce_at_equal_weights(self, monkeypatch):
        monkeypatch.syspath_prepend(EXAMPLES)
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(2, 2, 8, 8, 4, generator=generator, requires_grad=True)
        label = (torch.rand(2, 1, 8, 8, 4, generator=generator) > 0.8).float()
        values = [build_loss("my_loss:tversky", miss=miss)(logits, label) for miss in (0.5, 0.9)]
        torch.testing.assert_close(values[0], build_loss("dice_ce")(logits, label))
        (gradient,) = torch.autograd.grad(values[1], logits)
        assert gradient.isfinite().all()
        assert not torch.equal(*values)


def test_names_are_available_without_importing_torch():
    code = "import sys, minivess.losses; assert minivess.losses.LOSSES and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
