"""Exported models of any origin, without the code that they were made of: read, quantized, judged."""
