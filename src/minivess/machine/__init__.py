"""What this computer has: memory, processors, GPUs, processes."""
