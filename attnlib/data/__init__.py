"""Data sets, their files, and batches made of them."""
