"""What happens around training steps, one hook a file."""
