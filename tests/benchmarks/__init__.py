"""Benchmarks: `python -m tests.benchmarks NAME [--json] [--corpus DIR]`.

They measure on this machine and print a table; with `--json` the last line is one object, `{"name", "machine",
"results": {case: {"baseline", "ours", "ratio", ...}}}`. Baseline and ours are measured in one run, taking turns, and
medians of five count. Where more is better (speed), ratio says how many times better ours is; of errors it is ours by
the baseline's. They are never part of the tests: times depend on what else a machine does.

| name | what is compared |
|---|---|
| `train-step` | a training step: a plain loop, ours |
| `quality` | reconstruction of sounds that were never learned from: documented, beta, PCA, mean, ours |
| `roundtrip` | sound to features and back without a model: torchaudio's way, ours |
| `reconstruction` | sounds through a model into audio: `mel`, `mel_if` |
| `preprocess` | files to features: librosa, ours |
| `mel-inverse` | mel to linear power: torchaudio, ours |
| `preview` | features to sound: torchaudio, ours |
| `checkpoint` | how long a checkpoint holds up the training: torch.save, ours |
| `reporting` | processor time of the training thread: without events, with them |
| `dispatch` | from submitted to started: stock Celery, ours from the HTTP request to the claimed lease |
| `events` | from a worker to 200 browsers: Flask-SocketIO's message queue, ours |
| `responsiveness` | how soon a person sees what they asked for |
"""
