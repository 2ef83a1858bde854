"""The C driver, and `quadfire header`, which writes tapes as C headers for it."""
