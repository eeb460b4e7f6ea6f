"""One network with images to look into, by hand or on a page."""
