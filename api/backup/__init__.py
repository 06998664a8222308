"""A copy of everything that a person would miss, made while all of it runs, and put back into an empty home."""
