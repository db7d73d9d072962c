"""What a user can mend, wherever it was found."""

from __future__ import annotations

import pickle

from minivess.data.formats.nifti_header import VolumeError


class TestMinivessError:
    def test_comes_whole_from_another_process_whatever_its_arguments(self) -> None:
        found = pickle.loads(pickle.dumps(VolumeError("damaged", "a whole file", "half of one", "copy it again")))
        assert type(found) is VolumeError
        assert (found.check, found.expected, found.cure) == ("damaged", "a whole file", "copy it again")
        assert str(found) == "expected a whole file; got half of one. Cure: copy it again"
