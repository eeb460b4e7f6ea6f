"""The training loop with its state, schedule, processes, failures and checkpoints."""
