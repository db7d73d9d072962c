"""File formats: read and write volumes, headers and voxel sizes."""
