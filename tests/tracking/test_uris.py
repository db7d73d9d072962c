from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import make_url

from minivess.tracking.uris import database_of, has_password, mask_uri, sqlite_uri


class TestMaskUri:
    @pytest.mark.parametrize(
        ("uri", "shown"),
        [
            ("https://me:secret@lab:5000/x", "https://***@lab:5000/x"),
            ("postgresql://me:sec/ret@1@lab/db", "postgresql://***@lab/db"),
            ("https://secret@lab", "https://***@lab"),
            ("postgresql://lab/db?sslmode=on&password=secret&x=1", "postgresql://lab/db?sslmode=on&password=***&x=1"),
            ("https://lab/?access_token=secret", "https://lab/?access_token=***"),
            ("mssql+pyodbc:///?odbc_connect=PWD%3Dsecret", "mssql+pyodbc:///?odbc_connect=***"),
            ("error at 'https://a:secret@lab' and https://b:secret@lab:1", "error at 'https://***@lab' and https://***@lab:1"),
            ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
            ("https://lab:5000: no answer, ask me@lab", "https://lab:5000: no answer, ask me@lab"),
        ],
    )  # fmt: skip
    def test_passwords_and_tokens_are_masked_and_the_rest_stays(self, uri: str, shown: str) -> None:
        assert mask_uri(uri) == shown

    @pytest.mark.parametrize(
        ("uri", "expected"),
        [
            ("https://me:secret@lab", True),
            ("https://token@lab", True),
            ("postgresql://me@lab/db", False),
            ("postgresql://me:a b/c@lab/db", True),
            ("postgresql://lab/db?password=secret", True),
            ("https://lab:5000", False),
            ("sqlite:////home/me:a@work/mlflow.db", False),
        ],
    )
    def test_which_addresses_have_a_password(self, uri: str, expected: bool) -> None:
        assert has_password(uri) is expected


class TestSqliteUri:
    @pytest.mark.parametrize("name", ["plain", "a b?c%20d#é", "100%", "x=1&y"])
    def test_sqlalchemy_and_database_of_find_the_same_file(self, name: str, tmp_path: Path) -> None:
        path = tmp_path / name / "mlflow.db"
        assert make_url(sqlite_uri(path)).database == str(path)
        assert database_of(sqlite_uri(path)) == path

    def test_a_server_has_no_file(self) -> None:
        assert database_of("https://lab") is None
