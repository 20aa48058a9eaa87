"""The protocol of the fair fight: models, tasks, budgets and what is made of the results.

``benchmarks.fair_fight`` runs it and stores what comes out; the chapter draws what is stored.
"""

from lstm_numba.teaching.fair_fight.budgets import BUDGETS, Budget, budget_for
from lstm_numba.teaching.fair_fight.models import MODELS, Model, Stepper, register, width_for
from lstm_numba.teaching.fair_fight.results import best_of, best_setting, final_scores, lengths_of, samples_of
from lstm_numba.teaching.fair_fight.tasks import TASKS, FairTask
from lstm_numba.teaching.fair_fight.training import draw_setting, run_once, streaming_cost

__all__ = [
    "BUDGETS",
    "MODELS",
    "TASKS",
    "Budget",
    "FairTask",
    "Model",
    "Stepper",
    "best_of",
    "best_setting",
    "budget_for",
    "draw_setting",
    "final_scores",
    "lengths_of",
    "register",
    "run_once",
    "samples_of",
    "streaming_cost",
    "width_for",
]
