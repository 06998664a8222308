"""Telling people that a job finished, failed or needs them, wherever they are."""
