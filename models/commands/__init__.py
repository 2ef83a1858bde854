"""Commands of `quadfire` that train, quantise and measure networks.

| file | holds |
|---|---|
| `training` | `train` |
| `neurons` | `neurons` |
| `trained` | a network trained, and what there is to say about it |
| `integers` | `quantize`, `report`, `untrained` |
| `files` | `evaluate`, `show` |
| `dynamics` | `dynamics` |
| `experiments` | `experiments`, `document` |
| `signals` | Ctrl-C and SIGTERM, after which a run keeps its state |
| `progress` | training and measuring under a progress bar |
| `common` | what the commands share: terminal, arguments, devices, files |
"""
