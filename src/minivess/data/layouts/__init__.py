"""Folder layouts: folders become cases."""
