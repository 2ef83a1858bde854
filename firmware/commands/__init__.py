"""Commands of `quadfire` that compile networks and drive devices, real or simulated."""
