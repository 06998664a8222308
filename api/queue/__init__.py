"""The queue: what people submit, in which order it runs, where, and what they do to it."""
