"""Training with NumPy only: losses, optimisers, schedules, clipping, checkpoints and the loop."""

from .checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from .clipping import clip_grad_norm, global_norm
from .loop import History, TrainingDiverged, evaluate_loss, fit
from .losses import cross_entropy_loss, mae_loss, mse_loss, pinball_loss
from .optimisers import SGD, Adam, AdamW, Optimiser
from .protocol import HasParameters, Trainable
from .schedules import (
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    ReduceOnPlateau,
    Schedule,
    StepSchedule,
)

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Checkpoint",
    "ConstantSchedule",
    "CosineSchedule",
    "ExponentialSchedule",
    "HasParameters",
    "History",
    "Optimiser",
    "ReduceOnPlateau",
    "Schedule",
    "StepSchedule",
    "Trainable",
    "TrainingDiverged",
    "clip_grad_norm",
    "cross_entropy_loss",
    "evaluate_loss",
    "fit",
    "global_norm",
    "load_checkpoint",
    "mae_loss",
    "mse_loss",
    "pinball_loss",
    "save_checkpoint",
]
