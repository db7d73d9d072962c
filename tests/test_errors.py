"""Errors that a user can fix."""

from __future__ import annotations

import pickle

from minivess.data.formats.nifti_header import VolumeError
from minivess.errors import MinivessError
from minivess.findings import Finding


class TestMinivessError:
    def test_pickling_keeps_type_and_attributes(self) -> None:
        found = pickle.loads(pickle.dumps(VolumeError("damaged", "a whole file", "half of one", "copy it again")))
        assert type(found) is VolumeError
        assert (found.check, found.expected, found.cure) == ("damaged", "a whole file", "copy it again")
        assert str(found) == "expected a whole file; got half of one. Cure: copy it again"

    def test_control_characters_of_a_file_are_shown_not_obeyed(self) -> None:
        error = MinivessError("a name", "a\x00b\x1b[2J\x9b\ud800 in\n\tline 2", "rename it")
        assert error.got == "a\\x00b\\x1b[2J\\x9b\\ud800 in\n\tline 2"
        assert Finding("warning", "a", "b\x07", "", "", "").what == "b\\x07"
