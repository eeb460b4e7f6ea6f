"""Networks beside people."""
