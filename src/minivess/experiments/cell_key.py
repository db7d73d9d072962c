"""What a cell trains: its loss or baseline, fold and repeat, and the name that follows from them."""

from __future__ import annotations

from typing import NamedTuple


class CellKey(NamedTuple):
    """What a cell trains: one loss or baseline on one fold, in one repeat. Folds count from 0, repeats from 1."""

    method: str
    fold: int
    repeat: int = 1

    @property
    def name(self) -> str:
        """Name of the folder of the cell: LOSS-foldK, and LOSS-foldK-repeatR from the second repeat on."""
        return f"{self.method}-fold{self.fold}" + (f"-repeat{self.repeat}" if self.repeat > 1 else "")

    @property
    def place(self) -> str:
        """The fold, and the repeat from the second one on, in words."""
        return f"fold {self.fold}" + (f", repeat {self.repeat}" if self.repeat > 1 else "")
