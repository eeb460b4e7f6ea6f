"""The thesis's statements and errata, and verdicts on them."""
