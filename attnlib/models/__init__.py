"""Models: layers, ViT and DeiT, AtResNet, and all of them by name."""
