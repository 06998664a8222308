"""The curves of a training: its step metrics in buckets, kept beside the events so that a chart opens at once."""
