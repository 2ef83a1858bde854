"""Training: from a data set and a network to a checkpoint.

| file | holds |
|---|---|
| `options` | how to train, and the defaults for a data set and a network |
| `batches` | order of the samples, and batches read ahead |
| `augment` | random changes of images, a batch at a time |
| `autoaugment` | the operations and the policy of AutoAugment |
| `losses` | TET: every time step is to be right |
| `optimizer` | AdamW or SGD, warm-up and cosine |
| `train` | epochs; accuracy and spike rates of a network |
| `parallel` | several processes that train one network |
| `resume` | the file of a run that may be cut short |
| `checkpoint` | the file of a trained network |
"""
