"""The wire against everything that may come over it: random conversations, cut and damaged."""
