"""Data as they come from a user's disk, for every command alike. numpy alone, no PyTorch.

| file | holds |
|---|---|
| `files` | bytes, arrays and pictures from disk, sizes checked before memory is taken |
| `own` | data of one's own: a .npz, or a folder of pictures, and what is held out of them |
| `spikes` | what a spike is: frames of 0 and 1, and how counts become them |

What PyTorch trains on is made of them in `quadfire.models.datasets`; a device reads them through
`quadfire.firmware.driver.inputs`.
"""
