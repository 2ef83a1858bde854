"""Training: from a data set and a network to a checkpoint.

| file | holds |
|---|---|
| `options`, `defaults` | how to train; the defaults for a data set and a network |
| `batches` | order of the samples, and batches read ahead |
| `validation` | a part of the training samples by which choices are made |
| `augment` | random changes of images, a batch at a time |
| `autoaugment` | the operations and the policy of AutoAugment |
| `losses` | TET: every time step is to be right |
| `mixing` | mixup and CutMix |
| `optimizer` | AdamW or SGD, and schedules of the learning rate |
| `average` | a moving average of the weights |
| `stages` | few time steps and small images first |
| `recalibration` | running means of tdBN, measured anew |
| `trainer` | a batch and an epoch |
| `train` | a run: epochs, validation, states in between, a limit of time |
| `measure` | accuracy and spike rates of a network |
| `parallel` | several processes that train one network |
| `resume` | the file of a run that may be cut short |
| `log` | the curve of a run |
| `checkpoint` | the file of a trained network |
"""
