"""Losses as pure functions of model outputs and a batch."""
