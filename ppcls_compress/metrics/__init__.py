"""Evaluation metrics, one small file each."""
