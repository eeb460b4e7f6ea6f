"""Augmentation of training images: timm's transforms, their batched equivalents, and mixing."""
