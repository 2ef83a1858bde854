"""Tests of what is read from other libraries."""
