"""Renderers: one file an output format; each only writes to a stream."""
