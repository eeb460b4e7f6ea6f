"""What the thesis states, and what became of it."""
