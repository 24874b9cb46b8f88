"""The names of what can be done to rows; nothing heavy, for the command line."""

ACTIONS = ("drop", "redact", "repair")
