"""From a network to channels with labels: which parameters shrink together."""
