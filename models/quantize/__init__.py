"""Quantisation: a trained network becomes an integer network.

| file | step |
|---|---|
| `modules.py` | reads torch modules, refuses what the array cannot compute |
| `fold.py` | network -> graph of branches, tdBN folded away |
| `scales.py` | one power of two per channel |
| `fake_quant.py` | `GridNetwork`: computes with the integers of the array, can be trained |
| `quantize.py` | `to_grid`, `calibrate`, `to_integer`, `quantize` |
| `report.py` | what quantisation did to every layer |
"""
