"""A method of a run that was trained elsewhere: its masks and scores in the run folder.

external/NAME/record.json      what was scored, and the scores; written last, so that the method appears complete
external/NAME/DIGEST/          predictions/ (the masks on the grid of the volumes) and cases/ (the scores of each case)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from minivess.evaluation.evaluate import PREDICTIONS_FOLDER, CaseRow
from minivess.json_files import read_state

TrainedOn = Literal["folds", "other", "unknown"]
"""On what a method that was trained elsewhere was trained, by the words of the person who scored its masks."""
ExternalName = Annotated[str, Field(pattern=r"^[A-Za-z][\w.-]*$", max_length=60)]

_FAIRNESS: dict[TrainedOn, str] = {
    "folds": "each case was predicted by a network that was trained on the training cases of its fold only, "
    "as the person who scored the masks states",
    "other": "none of the cases was trained on, as the person who scored the masks states; "
    "the training cases were other ones than those of the losses",
    "unknown": "on which cases is not known; if it has seen the held-out cases, its scores are too good",
}


class ExternalRecord(BaseModel):
    """What was scored as a method that was trained elsewhere, and its scores.

    Attributes:
        name: Name of the method in tables.
        trained_on: "folds": on the training cases of each fold of the run; "other": on none of its cases; "unknown".
        source: Where the masks came from, without the folders above.
        files: Name of the mask file of each case.
        digests: Digest of the mask file of each case.
        masks: Name of the folder with masks and scores, a digest of ``digests`` and the version.
        minivess: Version of minivess that scored the masks.
        scored_iso: Local time of the scoring.
        rows: Scores of each held-out case; the fold is the one in which the run holds the case out.
        test_rows: Scores of the test cases, if they had masks; they are reported apart. The fold is 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ExternalName
    trained_on: TrainedOn
    source: str
    files: dict[str, str]
    digests: dict[str, str]
    masks: str
    minivess: str
    scored_iso: str
    rows: tuple[CaseRow, ...]
    test_rows: tuple[CaseRow, ...] = ()

    @property
    def fairness(self) -> str:
        """A sentence that says what its scores can be compared with."""
        return f"{self.name} was not trained by this run, its masks were scored: {_FAIRNESS[self.trained_on]}."


@dataclass(frozen=True)
class ExternalFolder:
    """Files of one method that was trained elsewhere."""

    path: Path

    @property
    def record(self) -> Path:
        return self.path / "record.json"

    def masks(self, masks: str) -> Path:
        """Folder with the masks and scores that a record names."""
        return self.path / masks

    def prediction(self, record: ExternalRecord, case: str) -> Path:
        return self.path / record.masks / PREDICTIONS_FOLDER / f"{case}.nii.gz"

    def read(self) -> ExternalRecord | None:
        """Read the record; None if there is none, as after a scoring that was killed.

        Raises:
            RunError: It is damaged.
        """
        if not self.record.is_file():
            return None
        return read_state(self.record, ExternalRecord, f"delete {self.path} and score the masks again")
