"""Commands of `quadfire` that simulate, measure and verify."""
