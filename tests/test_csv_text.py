from __future__ import annotations

from minivess.csv_text import csv_text


def test_text_is_quoted_and_never_a_formula() -> None:
    rows = [['a,b "c"', 1.5, "=cmd|' /C calc'!A0"], ["x\ny", "-0.25", "@sum"]]
    assert csv_text(["name", "value", "note"], rows) == (
        "name,value,note\n" + '"a,b ""c""",1.5,\'=cmd|\' /C calc\'!A0\n' + '"x\ny",-0.25,\'@sum\n'
    )
