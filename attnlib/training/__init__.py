"""The training loop and what it stands on: state, schedule, processes, failures, checkpoints."""
