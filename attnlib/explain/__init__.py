"""What a network looks at, and whether that says anything."""
