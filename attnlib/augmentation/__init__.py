"""Augmentation of training images: timm's transforms, the same on whole batches, and mixing."""
