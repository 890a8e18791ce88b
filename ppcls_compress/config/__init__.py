"""YAML and overrides in, one frozen and validated configuration object out; imports nothing heavy."""
