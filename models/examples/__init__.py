"""Scripts as users of other libraries write them, to try `quadfire import` on.

| script | trains |
|---|---|
| `spikingjelly_digits.py` | SpikingJelly: a convolution and a dense layer of LIF, 8 x 8 digits |
"""
