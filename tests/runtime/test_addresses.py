"""Passwords never reach a message, whatever the form of the address."""

from __future__ import annotations

import pytest

from ganealogy.runtime.addresses import without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:s3cret@h:5432/db", "postgresql://h:5432/db"),
        (
            "mysql+pymysql://h/db?user=u&password=s3cret&charset=utf8",
            "mysql+pymysql://h/db?user=u&password=***&charset=utf8",
        ),
        ("http://u:s3cret@h", "http://h"),
        ("https://h/x?access_token=s3cret", "https://h/x?access_token=***"),
        ("https://h/x#id_token=s3cret", "https://h/x#id_token=***"),
        ("postgresql://u:s3%40cret@h/db", "postgresql://h/db"),
        ("https://s3cret@h/base", "https://h/base"),
        ("postgresql://u:s3@cret@h/db", "postgresql://h/db"),
        ("HTTP://u:s3cret@h", "HTTP://h"),
        ("postgresql://u:s3/cret@h/db", "postgresql://h/db"),
        ("postgresql://u:12/s3cret@h/db", "postgresql://h/db"),
        ("postgresql://u:s3#cret@h:1/db", "postgresql://h:1/db"),
        ("postgresql://u:s3?cret@h/db", "postgresql://h/db"),
        ("no http://u:s3cret@h, no http://u:s3cret@k.", "no http://h, no http://k."),
        ("http://u:s3cret@h,http://u:s3cret@k", "http://h,http://k"),
        ("mssql+pyodbc:///?odbc_connect=UID%3Du%3BPWD%3Ds3cret", "mssql+pyodbc:///?odbc_connect=UID%3Du%3BPWD%3D***"),
        ("azure://c/p?sv=1&sig=s3cret", "azure://c/p?sv=1&sig=***"),
        ("host=h password=s3cret dbname=d", "host=h password=*** dbname=d"),
        ("http://[:/s3cret@h", "http://h"),
    ],
)
def test_a_secret_is_removed_and_the_place_is_shown(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    assert "s3cret" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////home/a@b/my%20cats/mlflow.db",
        "http://h:5000/models@best",
        "http://[::1]:5000/x@y",
        "s3://bucket/a@b",
        "file:///a%20b/c",
        "no such design=x, assigned=y",
    ],
)
def test_what_is_no_secret_is_left(text: str) -> None:
    assert without_secrets(text) == text
