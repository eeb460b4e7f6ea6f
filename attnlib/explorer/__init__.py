"""The attention explorer: a network with images, for widgets in notebooks and the book's page."""
