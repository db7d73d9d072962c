"""nnU-Net's trainer with a configurable length; `nnUNetv2_train` finds it through the environment variable nnUNet_extTrainer."""

from __future__ import annotations

import os
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

_CUDA = torch.device("cuda")


class ShortTrainer(nnUNetTrainer):
    """The default trainer, except for the number of steps and only one validation step per epoch, which changes no weights."""

    # nnU-Net stores a trainer's arguments by name, so the signature must be the same as that of nnUNetTrainer.
    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = _CUDA,
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        torch.set_num_threads(1)
        self.num_epochs = int(os.environ["SHORT_TRAINER_EPOCHS"])
        self.num_iterations_per_epoch = int(os.environ["SHORT_TRAINER_STEPS"])
        self.num_val_iterations_per_epoch = 1
