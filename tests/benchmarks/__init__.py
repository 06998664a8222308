"""Benchmarks: `python -m tests.benchmarks NAME [--json] [--corpus DIR]`.

They measure on this machine and print a table; with `--json` the last line is one object, `{"name", "machine",
"results": {case: {...}}}`. They are never part of the tests: times depend on what else a machine does.
"""
