"""Models: layers, ViT and DeiT, AtResNet, and a registry of models by name."""
