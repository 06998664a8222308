"""Sounds to features and back: decoding, mel spectrograms, instantaneous frequency, phase recovery."""
