"""Classification backbones under PaddleClas' names, and their weights."""
