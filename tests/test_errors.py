"""Errors that a user can fix."""

from __future__ import annotations

import pickle

from minivess.data.formats.nifti_header import VolumeError


class TestMinivessError:
    def test_pickling_keeps_type_and_attributes(self) -> None:
        found = pickle.loads(pickle.dumps(VolumeError("damaged", "a whole file", "half of one", "copy it again")))
        assert type(found) is VolumeError
        assert (found.check, found.expected, found.cure) == ("damaged", "a whole file", "copy it again")
        assert str(found) == "expected a whole file; got half of one. Cure: copy it again"
