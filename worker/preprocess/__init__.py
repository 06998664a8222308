"""Sounds to cached features: clips -> decode -> analyse -> artifact store."""

from worker.preprocess.attempt import run_preprocess

__all__ = ["run_preprocess"]
