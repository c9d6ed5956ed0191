"""Measures: one file, one pure function, one value per sequence."""
