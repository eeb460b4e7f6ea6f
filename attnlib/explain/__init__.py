"""Explanations of a network's decisions: attention, attribution, feature maps, and tests."""
