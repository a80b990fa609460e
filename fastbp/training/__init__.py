"""Training: one loop over the epochs of a run, and what is watched while it goes on.

`fit` makes a request of a user's arguments (fit.py, request.py); the loop (loop.py) has a driver
make the epochs (driver.py: the engine; lbfgs.py: SciPy) and lets watchers (watchers/) look at them.
state.py says what a run goes on from, history.py what it recorded.
"""

from fastbp.training.driver import DivergenceError
from fastbp.training.fit import fit as fit
from fastbp.training.history import History
from fastbp.training.many import fit_many
from fastbp.training.online import OnlineTrainer
from fastbp.training.reduce import RankError
from fastbp.training.watchers.callbacks import each_step
from fastbp.training.watchers.watcher import Event

__all__ = [
    "DivergenceError",
    "Event",
    "History",
    "OnlineTrainer",
    "RankError",
    "each_step",
    "fit",
    "fit_many",
]
