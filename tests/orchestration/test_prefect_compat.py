"""Prefect's decorators, and the plain functions that replace them."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from types import ModuleType

import pytest

from minivess.orchestration import _prefect_compat


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setenv("PREFECT_DISABLED", "1")
    yield importlib.reload(_prefect_compat)
    monkeypatch.undo()
    importlib.reload(_prefect_compat)


def _double(value: int) -> int:
    """Return twice the value."""
    return 2 * value


class TestPrefectCompat:
    def test_noop_task_preserves_function(self, plain: ModuleType) -> None:
        assert plain.task(_double) is _double

    def test_noop_flow_preserves_function(self, plain: ModuleType) -> None:
        assert plain.flow(name="x", retries=2)(_double) is _double

    def test_prefect_disabled_env_var(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
        monkeypatch.setenv("PREFECT_DISABLED", "1")
        assert not importlib.reload(_prefect_compat).ENABLED
        monkeypatch.undo()
        importlib.reload(_prefect_compat)

    def test_get_run_logger_fallback(self, plain: ModuleType) -> None:
        assert isinstance(plain.get_run_logger(), logging.Logger)

    def test_decorated_function_callable(self, plain: ModuleType) -> None:
        assert plain.flow(plain.task(_double))(21) == 42
