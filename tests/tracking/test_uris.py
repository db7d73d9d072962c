from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import make_url

from minivess.tracking.uris import database_of, sqlite_uri


class TestSqliteUri:
    @pytest.mark.parametrize("name", ["plain", "a b?c%20d#é", "100%", "x=1&y"])
    def test_sqlalchemy_and_database_of_find_the_same_file(self, name: str, tmp_path: Path) -> None:
        path = tmp_path / name / "mlflow.db"
        assert make_url(sqlite_uri(path)).database == str(path)
        assert database_of(sqlite_uri(path)) == path

    def test_a_server_has_no_file(self) -> None:
        assert database_of("https://lab") is None
