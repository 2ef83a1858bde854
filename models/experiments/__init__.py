"""The experiments of `models/README.md`, from lists of runs to tables and pictures.

| file                   | holds |
|------------------------|---|
| paper.py               | the experiments of arXiv:2510.05168, as commands of `train` |
| plans.py               | which networks each experiment trains |
| runs.py                | `Run`: one network, trained and measured, its result a file |
| gradients.py           | gain of gradients, measured and by formula |
| stored.json            | the results that the README shows |
| tables.py, pictures.py | the README's tables and pictures, made from stored.json |
"""
