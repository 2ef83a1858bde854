"""Commands of `quadfire` that make hardware: configurations, Verilog, registers, bitstreams."""
