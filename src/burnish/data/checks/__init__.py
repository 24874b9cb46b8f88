"""Checks on the text of rows: each file one kind of finding, each check fed row by row in one pass."""
