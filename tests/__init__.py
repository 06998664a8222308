"""Tests, sorted by what they need: unit (nothing), integration (processes), faults, browser, contracts, benchmarks."""
