"""The book's diagrams, one a module; ``make_diagrams`` writes each as an SVG file."""
