"""Experiment trackers: each in a process of its own, so that none can slow, change or stop a training."""
