"""Faults: each test breaks something for real and proves that the rest holds.

What is broken is a real process, file, socket or message of a system that runs as people run it: api, Redis protocol
server (one for each module, on a folder of its own), workers, trainers. Leases last two seconds, so that a worker that
went silent is missed soon. A test is named by its fault (`test_row_03_…`), and asserts two things each time: that the
fault *really happened* (the process is gone, the lease lapsed, the bytes changed), and that the system held.

`./deploy/test` injects each fault a few times; `./deploy/test --faults` as often as a proof needs, with the limits of
time that are promised on a calm machine (`limit`). Both print a table: what was injected, how often, how
often all held, and what was measured.

    counting.py    how long things may take here; what was injected and what held
    conftest.py    fixtures: counts, limits, the line of the table, a server and a system of the module's own
    processes.py   processes that end, stop and go on, and proof that they did
    disks.py       disks of the test's own that fill up or fail
    followers.py   a browser's page as far as events go
    reports.py     what a trainer would report, at a steady rate
    saving.py      a process that saves checkpoints until it is killed
    in_namespace.py  a worker in another network namespace
    test_*.py      the faults, by theme
"""
