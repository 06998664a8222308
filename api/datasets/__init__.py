"""What becomes of uploaded files: received to the disk, probed in a limited process, kept under their hash."""
