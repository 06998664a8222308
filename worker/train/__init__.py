"""Training: features -> batches -> steps -> metrics, previews, checkpoints.

data.py        which files, which excerpts, in which order; batches (augment.py: noise)
plan.py        how it is computed on this device (timing.py measures the candidates; memory.py keeps memory)
learner.py     model, objective, optimizer: one step (graph.py: recorded and replayed; averages.py: what is kept of it)
evaluation.py  how good the model is on fixed chunks
metrics.py     what is reported; warnings.py: what a person should know
preview.py     sounds from the current model
start.py       the first weights: another job's, or principal components
checkpoint.py  save and load; host_copy.py: out of the way of the next step; checkpoint_writer.py: in the background
session.py     sets all of this up, or puts it back as it was
loop.py        the training, top to bottom
"""

from worker.train.loop import run_training
from worker.train.warm_up import warm_up

__all__ = ["run_training", "warm_up"]
