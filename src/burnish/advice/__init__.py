"""Advice: what a task needs, decided from measurements by pure functions. Fit for `burnish advise` to call."""
