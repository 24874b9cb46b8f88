"""Cleaned copies of data files: findings dropped, redacted or repaired, and every change written down."""
