from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import minivess.losses
from minivess.errors import ConfigError
from minivess.losses.registry import LOSSES, build_loss

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture
def spare_name():
    yield "my_loss"
    LOSSES.pop("my_loss", None)


class TestBuildLoss:
    def test_the_package_offers_the_same_two(self):
        assert minivess.losses.LOSSES is LOSSES
        assert minivess.losses.build_loss is build_loss

    def test_an_unknown_name_lists_the_known_and_the_nearest(self):
        with pytest.raises(ConfigError, match=r"dice_ce, dice_ce_cldice, cbdice, cbdice_cldice.*mean 'dice_ce'"):
            build_loss("dicece")

    def test_an_unknown_option_lists_the_known_and_the_nearest(self):
        with pytest.raises(ConfigError, match=r"iterations, smooth.*'iteration'.*mean 'iterations'"):
            build_loss("cbdice", iteration=3)

    def test_an_option_of_a_loss_without_any_is_refused(self):
        with pytest.raises(ConfigError, match="leave it out"):
            build_loss("dice_ce", iterations=3)


class TestOpenRegistry:
    def test_an_entry_is_built_with_its_options(self, spare_name):
        LOSSES[spare_name] = lambda weight: nn.CrossEntropyLoss(label_smoothing=weight)
        assert build_loss(spare_name, weight=0.1).label_smoothing == 0.1

    def test_an_option_that_it_needs_is_asked_for(self, spare_name):
        LOSSES[spare_name] = lambda weight: nn.CrossEntropyLoss(label_smoothing=weight)
        with pytest.raises(ConfigError, match="weight"):
            build_loss(spare_name)

    def test_a_builder_may_be_named_in_full(self):
        assert isinstance(build_loss("torch.nn:CrossEntropyLoss", label_smoothing=0.1), nn.CrossEntropyLoss)

    @pytest.mark.parametrize("name", ["no_such_package:loss", "torch.nn:NoSuchLoss"])
    def test_a_builder_that_cannot_be_imported_says_why(self, name):
        with pytest.raises(ConfigError, match="PYTHONPATH or install the package"):
            build_loss(name)

    def test_the_example_of_the_docs_trains_and_is_dice_ce_at_equal_prices(self, monkeypatch):
        monkeypatch.syspath_prepend(EXAMPLES)
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(2, 2, 8, 8, 4, generator=generator, requires_grad=True)
        label = (torch.rand(2, 1, 8, 8, 4, generator=generator) > 0.8).float()
        values = [build_loss("my_loss:tversky", miss=miss)(logits, label) for miss in (0.5, 0.9)]
        torch.testing.assert_close(values[0], build_loss("dice_ce")(logits, label))
        (gradient,) = torch.autograd.grad(values[1], logits)
        assert gradient.isfinite().all()
        assert not torch.equal(*values)


def test_names_are_known_without_torch():
    code = "import sys, minivess.losses; assert minivess.losses.LOSSES and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
