"""Folder layouts: find the cases of a data set folder."""
