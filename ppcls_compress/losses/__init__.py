"""Training losses, one small file each."""
