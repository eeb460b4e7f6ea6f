"""Cost of models: speed, memory, size on disk, and scaling with the number of tokens."""
