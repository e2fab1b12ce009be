"""Finished datasets in, the same rows in other formats out."""
