"""The shape of an array: one frozen `ArrayConfig`, the sizes derived from it, and the presets."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields

from quadfire.rtl.contract.tape import PASS_WORDS, SOURCE_WORDS

__all__ = ["LIMITS", "PRESETS", "ArrayConfig", "preset"]

#: Changes whenever a device would misread a tape made for an older array.
INTERFACE_VERSION = 3

#: Field: (least, greatest, meaning).
LIMITS = {
    "banks": (1, 16, "weight banks, one per kernel tap or dense tile"),
    "lanes": (1, 128, "accumulator lanes per bank, one output channel each"),
    "group_lanes": (1, 8, "lanes that share a neuron pipeline"),
    "weight_bits": (4, 8, "width of a signed weight"),
    "weight_rows": (8, 65536, "rows of the weight memory, one per input channel"),
    "weight_ports": (1, 2, "ports of the weight memory: 1 lets it be single-port RAM"),
    "accumulator_bits": (8, 32, "width A of a signed accumulator"),
    "slots": (1, 16, "accumulators per lane: time steps or bit planes of one pass"),
    "lut_ram": (0, 1, "1: the device has LUT RAM; 0: small memories are block RAM"),
    "readout_queue": (0, 16, "readouts of the lanes that wait for the neurons; 0: none waits"),
    "sources": (1, 16, "maps, or shifted copies of maps, that one pass reads"),
    "line_words": (0, 4096, "words of a line buffer between kernel rows; 0: no 3 x 3 kernels"),
    "state_bits": (8, 18, "width W of the membrane potential"),
    "fraction_bits": (4, 16, "fractional bits F of the membrane potential"),
    "current_bits": (12, 24, "width of the input current J"),
    "spike_words": (16, 65536, "words of the spike memory"),
    "state_words": (0, 4096, "outputs of a lane whose membranes are kept between passes; 0: none"),
    "parameter_words": (16, 65536, "words of the neuron parameter memory of a group"),
    "packet_words": (32, 4096, "words of the packet buffer; a packet carries half of it at most"),
    "pipelined": (0, 1, "1: register stages and parallel logic for a fast clock; 0: few cells"),
    "running_lanes": (0, 2048, "lanes in all up to which running sums stand in registers"),
}


def _is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True, kw_only=True)
class ArrayConfig:
    """Everything about an array that is fixed when its Verilog is made.

    An array has `banks` x `lanes` accumulator lanes. Every cycle one input spike (an *event*) adds
    one row of weights, `banks * lanes` of them, to the accumulators of the current time step.
    A *group* is `group_lanes` lanes of every bank, their slice of the weights, and one neuron
    pipeline. Groups stand on a chain.

    `lut_ram` says which memories the device has, `pipelined` how fast its clock shall be; the two
    are independent. `LIMITS` says what every field means. A new field goes to the end: the AXI
    registers of the configuration stand in the order of the fields.

    Raises ValueError, with the reason, for an array that cannot be built.
    """

    banks: int = 9
    lanes: int = 32
    group_lanes: int = 4
    weight_bits: int = 8
    weight_rows: int = 1024
    weight_ports: int = 2
    accumulator_bits: int = 18
    slots: int = 16
    lut_ram: int = 1
    readout_queue: int = 16
    sources: int = 16
    line_words: int = 512
    state_bits: int = 12
    fraction_bits: int = 10
    current_bits: int = 20
    spike_words: int = 2048
    state_words: int = 0
    parameter_words: int = 256
    packet_words: int = 512
    pipelined: int = 1
    running_lanes: int = 512

    def __post_init__(self):
        for name, (low, high, what) in LIMITS.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ValueError(f"{name} ({what}) must be an integer in {low}..{high}, "
                                 f"not {value!r}")
        for name in ("lanes", "group_lanes", "packet_words"):
            if not _is_power_of_two(getattr(self, name)):
                raise ValueError(f"{name} must be a power of two, not {getattr(self, name)!r}")
        if self.line_words and (self.banks != 9 or self.line_words < 8
                                or not _is_power_of_two(self.line_words)):
            raise ValueError("line buffers stand between the rows of 3 x 3 kernels: line_words "
                             "must be 0 or a power of two from 8 on, and 0 unless banks is 9, not "
                             f"{self.line_words!r} with banks = {self.banks!r}")
        if self.line_words and not (self.lut_ram and self.readout_queue > 2):
            raise ValueError("line buffers need LUT RAM and a queue before the neurons: lut_ram = "
                             f"1 and readout_queue = 3 or more, not {self.lut_ram!r} and "
                             f"{self.readout_queue!r}")
        if self.weight_bits not in (4, 8):
            raise ValueError(f"weight_bits must be 4 or 8, not {self.weight_bits!r}")
        if self.group_lanes > self.lanes:
            raise ValueError(f"group_lanes must be at most lanes = {self.lanes}, "
                             f"not {self.group_lanes!r}")
        if self.group_lanes * self.weight_bits > 32:
            raise ValueError("group_lanes * weight_bits must be at most 32, one memory word, not "
                             f"{self.group_lanes * self.weight_bits}")
        if self.fraction_bits > self.state_bits - 2:
            raise ValueError("fraction_bits must be at most state_bits - 2, so that 1.0 can be "
                             f"represented, not {self.fraction_bits!r}")
        if self.payload_words < (needed := PASS_WORDS + SOURCE_WORDS * self.sources):
            raise ValueError(f"packet_words must be at least {1 << (2 * needed + 3).bit_length()}, "
                             f"so that a pass with {self.sources} sources is one packet, not "
                             f"{self.packet_words!r}")
        if self.current_bits < self.state_bits:
            raise ValueError(f"current_bits must be at least state_bits = {self.state_bits}, "
                             f"not {self.current_bits!r}")
        if self.accumulator_bits < self.weight_bits:
            raise ValueError(f"accumulator_bits must be at least weight_bits = {self.weight_bits}, "
                             f"not {self.accumulator_bits!r}")

    # Derived sizes -----------------------------------------------------------------------------

    @property
    def groups(self) -> int:
        """Groups on the chain."""
        return self.lanes // self.group_lanes

    @property
    def outputs(self) -> int:
        """Accumulator lanes in all: outputs of a dense layer that one pass computes."""
        return self.banks * self.lanes

    @property
    def running_sums(self) -> bool:
        """Whether the running sums stand in registers (`quadfire.rtl.array.cell`).

        A register stage between the adders and the accumulators makes the clock fast. It costs two
        flip-flops per bit of a sum: above 512 lanes they cannot be placed on an ECP5.
        """
        return bool(self.lut_ram and self.pipelined) and self.outputs <= self.running_lanes

    @property
    def cell_halves(self) -> int:
        """Slices of a cell that have an address register of their own: 1 or 2.

        Without running sums, LUT RAM is read, added to and written in one cycle. Its address then
        drives at most four lanes, so that it does not go far.
        """
        at_once = self.pipelined and self.lut_ram and not self.running_sums and self.readout_queue
        return max(self.group_lanes // 4, 1) if at_once else 1

    @property
    def kernel_taps(self) -> bool:
        """Whether the banks can be the taps of a 3 x 3 kernel."""
        return self.line_words > 0

    @property
    def row_bits(self) -> int:
        """Width of a row of weights in one cell."""
        return self.group_lanes * self.weight_bits

    @property
    def wide_bits(self) -> int:
        """Width of a wide weight: one signed value in a row, beside the number of its lane."""
        return self.row_bits - (self.group_lanes - 1).bit_length()

    @property
    def word_bits(self) -> int:
        """Width of a word of the spike memory."""
        return max(32, self.lanes)

    @property
    def word_columns(self) -> int:
        """Columns of a spike word: slices that are written on their own."""
        return self.word_bits // self.column_bits

    @property
    def column_bits(self) -> int:
        """Width of a column: the spikes of one tile, or one stream word of them."""
        return min(self.lanes, 32)

    @property
    def tiles_per_word(self) -> int:
        """Tiles of `lanes` output channels in one spike word."""
        return self.word_bits // self.lanes

    @property
    def stream_words(self) -> int:
        """32-bit stream words in one spike word."""
        return self.word_bits // 32

    @property
    def plane_bits(self) -> int:
        """Width of the sum of an 8-bit input, folded from its bit planes: A + 8."""
        return self.accumulator_bits + 8

    @property
    def stage_domain(self) -> str:
        """Domain of the pipeline stages that only a fast clock needs; "comb" leaves them out."""
        return "sync" if self.pipelined else "comb"

    @property
    def readout_period(self) -> int:
        """Least number of cycles between two readouts of a group's lanes by its neurons."""
        return max(self.group_lanes, 4 if self.forwards else 6)

    @property
    def forwards(self) -> bool:
        """Whether a neuron's state can go from one time step to the next past its memory.

        That memory is then LUT RAM, read in the cycle in which the state is needed.
        """
        return bool(self.lut_ram and self.readout_queue) and self.group_lanes <= 4

    @property
    def payload_words(self) -> int:
        """Longest payload of a packet, in words."""
        return self.packet_words // 2 - 2

    @property
    def state_min(self) -> int:
        return -(1 << (self.state_bits - 1))

    @property
    def state_max(self) -> int:
        return (1 << (self.state_bits - 1)) - 1

    # Identity ----------------------------------------------------------------------------------

    def as_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "ArrayConfig":
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown configuration field {unknown[0]!r}; known are "
                             f"{', '.join(sorted(known))}")
        return cls(**values)

    @property
    def hash(self) -> int:
        """32 bits that name this configuration; every tape carries it, every device checks it."""
        text = json.dumps({"interface": INTERFACE_VERSION, **self.as_dict()}, sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")

    def __str__(self) -> str:
        pipelines = "neuron pipeline" if self.groups == 1 else "neuron pipelines"
        return (f"{self.banks} x {self.lanes} lanes, {self.weight_bits}-bit weights, "
                f"{self.weight_rows} rows, {self.groups} {pipelines}, "
                f"{self.state_bits}-bit membrane")


#: Arrays with a name: `tiny` and `tiny-conv` for tests, `small` for an iCE40 UP5K, `medium` for the
#: bitstream of a ULX3S, `default` and `wide` for an ECP5 85F; `large` has the memory for whole
#: networks on CIFAR, more than any ECP5. `default-long` is `default` with a memory for membranes
#: and more spikes, all the block RAM of an ECP5 85F. In `wide` 17 bits hold the sum of all 512 rows
#: of all 9 banks, whatever their 4-bit weights.
PRESETS = {
    "tiny": ArrayConfig(banks=2, lanes=4, group_lanes=2, weight_rows=64, accumulator_bits=16,
                        slots=8, sources=9, line_words=0, spike_words=64, parameter_words=64,
                        packet_words=128),
    "tiny-conv": ArrayConfig(lanes=4, group_lanes=2, weight_rows=256, accumulator_bits=16, slots=8,
                             line_words=128, spike_words=1024, state_words=64, parameter_words=64,
                             packet_words=256),
    "small": ArrayConfig(banks=2, lanes=8, group_lanes=8, weight_bits=4, weight_rows=16384,
                         weight_ports=1, accumulator_bits=12, slots=8, lut_ram=0, readout_queue=0,
                         sources=1, line_words=0, current_bits=16, spike_words=256,
                         parameter_words=256, packet_words=256, pipelined=0),
    "medium": ArrayConfig(banks=4, lanes=8, weight_rows=4096, slots=8, sources=1, line_words=0,
                          spike_words=512, parameter_words=256, packet_words=256),
    "default": ArrayConfig(),
    "default-long": ArrayConfig(state_words=256, spike_words=3072),
    "wide": ArrayConfig(lanes=64, group_lanes=8, weight_bits=4, accumulator_bits=17,
                        current_bits=22, weight_rows=512, spike_words=8192, parameter_words=512),
    "large": ArrayConfig(lanes=64, group_lanes=8, weight_bits=4, current_bits=22, spike_words=16384,
                         parameter_words=1024),
}


def preset(name: str) -> ArrayConfig:
    """The configuration called `name`; raises ValueError that lists the names there are."""
    try:
        return PRESETS[name]
    except KeyError:
        raise ValueError(f"no configuration is called {name!r}; there are "
                         f"{', '.join(PRESETS)}") from None
