"""What the commands of the simulation show. Files in the order in which data flow:

| file | holds |
|---|---|
| `demo.py` | a trained network on the Verilog, compared with PyTorch |
| `compare.py` | reference and RTL side by side: the first value that differs |
| `deep.py` | one image through a whole deep network |
| `activity.py` | cycles of a convolution against its spike rate |
| `speed.py` | cycles per second of the simulation |
| `benchmarks.py` | named networks, measured |
| `published.py` | figures of other accelerators |
| `figures.py` | the tables of benchmarks |
| `charts.py`, `pictures.py` | pictures of benchmarks, of the demo |
| `images/` | pictures that the README shows |
"""
