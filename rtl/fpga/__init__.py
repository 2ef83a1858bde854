"""Arrays on FPGAs: synthesis, what yosys leaves undone on ECP5, place and route, the figures."""
