"""Tests of `quadfire.data`."""
