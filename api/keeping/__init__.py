"""What is kept and what goes: pinned checkpoints, deletion, disk use, garbage."""
