"""Run records: what a finished run leaves behind."""
