"""Comparison of networks with people: decisions, agreement, shape bias, and CIFAR-10H."""
