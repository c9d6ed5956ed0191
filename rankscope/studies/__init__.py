"""Studies: declared experiments and the small trainer, apart from the instrument."""
