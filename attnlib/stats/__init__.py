"""Intervals and tests, and measures of agreement."""
