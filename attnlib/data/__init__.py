"""Data sets, their files, and batches of training and evaluation images."""
