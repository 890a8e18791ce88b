"""Which channels go: criteria, ratios, targets, and what stays whole."""
