"""The experiments of `models/README.md`: runs, what they are chosen from, tables and pictures."""
