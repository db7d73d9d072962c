"""nnU-Net's trainer with a length of our choice; found by `nnUNetv2_train` through the environment variable nnUNet_extTrainer."""

from __future__ import annotations

import os
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

_CARD = torch.device("cuda")


class ShortTrainer(nnUNetTrainer):
    """Everything as it comes but the number of steps, and one look at the held-out fold an epoch, which changes no weight."""

    # nnU-Net stores a trainer's arguments by name, so the signature is to be its own.
    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = _CARD,
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        torch.set_num_threads(1)
        self.num_epochs = int(os.environ["SHORT_TRAINER_EPOCHS"])
        self.num_iterations_per_epoch = int(os.environ["SHORT_TRAINER_STEPS"])
        self.num_val_iterations_per_epoch = 1
