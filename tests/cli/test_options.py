"""Options that several commands share."""

from __future__ import annotations

import click
import pytest

from minivess.cli.options import keys_of, parse_settings


class TestParseSettings:
    def test_keys_become_groups_and_values_are_yaml(self) -> None:
        settings = ("training.max_epochs=5", "training.augment=false", "losses=[warp]", "name=a=b")
        assert parse_settings(settings) == {
            "training": {"max_epochs": 5, "augment": False},
            "losses": ["warp"],
            "name": "a=b",
        }
        assert set(keys_of(settings)) == {"training.max_epochs", "training.augment", "losses", "name"}

    def test_the_last_setting_of_a_key_wins(self) -> None:
        assert parse_settings(("training=5", "training.max_epochs=1")) == {"training": {"max_epochs": 1}}
        assert parse_settings(("training.max_epochs=1", "training=5")) == {"training": 5}

    @pytest.mark.parametrize("setting", ["folds", "=3", "losses=[warp", "name=2024-13-45"])
    def test_invalid_setting_names_the_option_and_the_setting(self, setting: str) -> None:
        with pytest.raises(click.BadParameter) as caught:
            parse_settings((setting,))
        assert caught.value.param_hint == "--set"
        assert repr(setting) in caught.value.message
