"""What the command line does with many inputs: read, separate, write."""
