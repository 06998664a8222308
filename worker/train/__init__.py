"""Training: features -> batches -> steps -> metrics, previews, checkpoints.

data.py        which files, which excerpts, in which order; batches
plan.py        how it is computed on this device (timing.py measures the candidates)
learner.py     model, objective, optimizer: one step
evaluation.py  how good the model is on fixed chunks
metrics.py     what is reported; warnings.py: what a person should know
preview.py     sounds from the current model
checkpoint.py  save and load; checkpoint_writer.py: in the background
session.py     sets all of this up, or puts it back as it was
loop.py        the training, top to bottom
"""

from worker.train.loop import run_training
from worker.train.warm_up import warm_up

__all__ = ["run_training", "warm_up"]
