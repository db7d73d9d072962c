"""Prefect's decorators, and the plain functions that replace them."""

from __future__ import annotations

import importlib
import logging
import socket
from collections.abc import Iterator
from types import ModuleType

import pytest

from minivess.orchestration import _prefect_compat


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Something listens at PREFECT_API_URL, so that only PREFECT_DISABLED keeps Prefect out."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.getsockname()[1]}/api")
        yield


@pytest.fixture
def plain(listening: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
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

    @pytest.mark.usefixtures("listening")
    def test_prefect_disabled_env_var(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reasons = {}
        for value in ("1", "0", None):
            monkeypatch.setenv("PREFECT_DISABLED", value) if value else monkeypatch.delenv("PREFECT_DISABLED")
            reasons[value] = _prefect_compat._why_plain()
        assert reasons == {"1": "", "0": None, None: None}
        monkeypatch.delenv("PREFECT_API_URL")
        assert "just prefect-up" in (_prefect_compat._why_plain() or "")

    def test_a_server_that_does_not_answer_is_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            url = f"http://127.0.0.1:{server.getsockname()[1]}/api"
        monkeypatch.setenv("PREFECT_API_URL", url)
        monkeypatch.delenv("PREFECT_DISABLED", raising=False)
        assert url in (_prefect_compat._why_plain() or "")

    def test_get_run_logger_fallback(self, plain: ModuleType) -> None:
        assert plain.get_run_logger() is logging.getLogger("minivess")

    def test_decorated_function_callable(self, plain: ModuleType) -> None:
        assert not plain.ENABLED
        assert plain.flow(plain.task(_double))(21) == 42
