"""Commands of `quadfire` that train, quantise and measure networks."""
