"""The computer: its memory, processors, GPUs and processes."""
