"""Searches the compression that keeps a contract: what may be lost, and what must be reached."""
