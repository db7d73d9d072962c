from __future__ import annotations

import pytest

from minivess.errors import ConfigError
from minivess.masking import has_password, mask_uri


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

    def test_no_error_shows_a_password(self) -> None:
        error = ConfigError("https://me:secret@lab", "['https://me:secret@lab']", "https://lab?token=secret")
        assert "secret" not in f"{error} {error.expected} {error.got} {error.cure}"
