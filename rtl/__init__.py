"""Quadfire's hardware: a pipelined array of quadratic integrate-and-fire neurons in Amaranth.

The files stand in datapath order:

    receiver -> executor -> spikes -> events -> sequencer -> weights -> cell -> current -> neuron
             -> group -> array -> collector -> sender -> core

`config` says how large an array is, `numerics` what it computes, `tape` what it understands.
"""
