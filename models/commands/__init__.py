"""The commands of `quadfire`, a module for each theme."""
