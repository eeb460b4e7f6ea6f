"""Comparison of runs: paired tests, confusion matrices, and the reference table."""
