"""The cycle model: how long the array takes. Files in the order in which data flow:

| file | holds |
|---|---|
| `pass_timer.py` | when reader, encoder, sequencer and neurons act, word by word |
| `pass_model.py` | a pass, to the cycle, from the words that it reads |
| `network_model.py` | a network, pass by pass, from the spikes of its layers |
| `estimate.py` | estimates without spikes, and the design space |
| `regression.py` | cycles of ten digits on the simulated array, against a baseline |
"""
