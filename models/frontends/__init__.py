"""Frontends: networks that were trained with other libraries become graphs that the array runs."""
