"""Formats of a check, one file each. They lie apart from those of reports, so that `check` loads none of these."""
