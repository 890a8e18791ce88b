"""Bits of weights by budget: what each layer loses on each number of bits, and the choice that loses least."""
