"""What a model costs: time, memory, disk, and how that grows."""
