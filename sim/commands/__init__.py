"""Commands of `quadfire` that simulate, measure and verify.

| file | holds |
|---|---|
| `running` | `simulate`, `compare`, `estimate`, `sweep`, `serve` |
| `showing` | `demo`, `deep`, `activity`, `figures`, `speed` |
| `verifying` | `build`, `cocotb`, `fuzz`, `lint` |
| `bench` | `bench` |
"""
