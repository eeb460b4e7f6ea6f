"""Runs side by side: paired tests, confusions, the reference table."""
