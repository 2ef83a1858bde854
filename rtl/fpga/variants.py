"""Blocks that are measured only: the neuron pipeline for one kind of neuron."""

from amaranth import *
from amaranth.lib import wiring

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.neuron.pipeline import NeuronPipeline

__all__ = ["LifPipeline", "QifPipeline"]


class _FixedPipeline(wiring.Component):
    """The neuron pipeline with a constant choice of the second operand; ports as there."""

    square: bool

    def __init__(self, config: ArrayConfig):
        self.pipeline = NeuronPipeline(config)
        super().__init__(dict(self.pipeline.signature.members))

    def elaborate(self, platform):
        m = Module()
        m.submodules.pipeline = pipeline = self.pipeline
        for name, member in self.pipeline.signature.members.items():
            inner, outer = getattr(pipeline, name), getattr(self, name)
            m.d.comb += inner.eq(outer) if member.flow == wiring.In else outer.eq(inner)
        m.d.comb += pipeline.neuron.square.eq(self.square)
        if self.square:     # of a QIF neuron the tape sets the operand to the initial state
            m.d.comb += pipeline.neuron.operand.eq(pipeline.neuron.initial)
        return m


class QifPipeline(_FixedPipeline):
    """The neuron pipeline for QIF neurons: w' = w^2 + J."""

    square = True


class LifPipeline(_FixedPipeline):
    """The neuron pipeline for LIF and IF neurons: w' = w * beta + J."""

    square = False
