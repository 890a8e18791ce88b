"""One page about compressed classifiers: self-contained HTML with its drawings and pictures inside."""
