"""The commands of `python -m models`, a module for each theme."""
