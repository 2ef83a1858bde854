"""Random passes through the Verilated core: values by the definition, cycles by the cycle model."""

from dataclasses import replace

import numpy as np
import pytest

from quadfire.firmware.tape.packets import decode
from quadfire.models.integer.random_network import random_neuron
from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.contract.tape import COUNTERS, Answer, Emit
from quadfire.sim.verilator.core import VerilatedTransport

from tests.rtl.control.tape_writer import DoesNotFit, Tape
from tests.rtl.core.layer_definition import Branch, LayerDefinition
from tests.rtl.core.passes import dense_tape, predicted, tape

CONFIG = preset("tiny-conv")
TAPS = pytest.mark.parametrize("taps", [True, False], ids=["taps", "tiles"])


@pytest.fixture(scope="module")
def device():
    with VerilatedTransport(CONFIG, idle_limit=30_000) as transport:
        yield transport


@pytest.fixture(scope="module")
def stalled():
    with VerilatedTransport(CONFIG, idle=0.3, backpressure=0.5, seed=5) as transport:
        yield transport


def check(device: VerilatedTransport, written: Tape, *, cycles: bool = True) -> dict[str, int]:
    """Every answer is what it must be, and so are the counters with `cycles`; they are returned."""
    answers = [decode(words) for words in device.exchange(written.packets, written.answers)]
    kinds = [Answer.PROBE] * len(written.probe) + [Answer.SPIKES] * written.reads + [Answer.REPORT]
    assert [answer.opcode for answer in answers] == kinds
    probe = [answer.payload for answer in answers[:len(written.probe)]]
    for index, (got, wanted) in enumerate(zip(probe, written.probe, strict=True)):
        assert np.array_equal(got.view(np.int32), wanted), f"tile {index} of the probe"
    words = np.concatenate([answer.payload for answer in answers[len(probe):-1]])
    wrong = np.flatnonzero(words != written.words)
    assert not len(wrong), (f"output word {wrong[0]} of {len(words)}: expected "
                            f"{written.words[wrong[0]]:#x}, got {words[wrong[0]]:#x}")
    seen = dict(zip(COUNTERS, map(int, answers[-1].payload), strict=True))
    if cycles:
        wanted = predicted(written.packets, device.config)
        assert {name: seen[name] for name in wanted} == wanted
    return seen


def random_spikes(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Of any density, none and all among them, or with silent channels or slots."""
    density = rng.choice([0, 1, *rng.random(4), 0.02, 0.05])
    spikes = rng.random(shape) < density
    spikes[rng.random(len(spikes)) < rng.choice([0, 0, 0.5])] = 0
    return spikes.astype(np.uint8)


def random_branch(rng: np.random.Generator, config: ArrayConfig, slots: int, outputs: int, *,
                kernels: tuple[int, ...], channels: int, limit: int) -> Branch:
    """A map with a pool and a kernel; all its weights of one output add up to `limit` at most."""
    k, c = int(rng.choice(kernels)), int(rng.integers(1, channels + 1))
    padding = int(rng.integers(0, k // 2 + 2)) if k > 1 else 0
    size, step = (1, 1) if rng.integers(2) else (int(n) for n in rng.integers(1, 4, 2))
    pool_padding = int(rng.integers(0, min(size, 3)))
    height, width = (int(n) for n in rng.integers(max(1, k - 2 * padding), max(7, k + 2), 2))
    surplus = rng.integers(0, step, 2)      # rows and columns that no window covers
    height, width = (max(1, (n - 1) * step + size - 2 * pool_padding + int(more))
                     for n, more in zip((height, width), surplus, strict=True))
    high = (1 << config.weight_bits - 1) - 1
    high = min(high, max(1, limit // (c * k * k * size * size)))
    return Branch(spikes=random_spikes(rng, slots, c, height, width),
                weight=rng.integers(-high - 1, high + 1, (outputs, c, k, k)), padding=padding,
                pool=(size, step), pool_padding=pool_padding, any=bool(rng.integers(2)))


def random_layer(rng: np.random.Generator, config: ArrayConfig, *, taps: bool, tiles: int = 1,
                 readout: bool = False, emit: Emit = Emit.NONE,
                 kernels: tuple[int, ...] | None = None, stride: int | None = None
                 ) -> LayerDefinition:
    """With taps sometimes with a second branch: a projection, or an identity with wide weights."""
    slots = int(rng.integers(1, min(8, config.slots) + 1))
    planes = rng.integers(3) == 0
    outputs, limit = tiles * config.lanes, 1 << config.accumulator_bits - 3
    kernels = kernels or ((1, 3, 3, 3, 2, 5, 7) if taps else (1, 2, 3))
    stride = stride or int(rng.choice([1, 1, 1, 2, 4 if taps else 3]))
    branches = [random_branch(rng, config, slots, outputs, kernels=kernels, channels=33,
                              limit=limit)]
    _, _, rows, columns = branches[0].sums(stride).shape
    if taps and stride == 1 and rng.integers(3) == 0:
        if rng.integers(2):
            wide = 1 << config.wide_bits - 1
            branches.append(Branch(
                spikes=random_spikes(rng, slots, config.lanes, rows, columns),
                wide=rng.integers(-min(wide, limit), min(wide, limit), config.lanes)))
        else:       # the projection's stride is the step of its source
            step = int(rng.integers(1, 3))
            branches.append(Branch(
                spikes=random_spikes(rng, slots, 3, *(step * (n - 1) + 1 for n in (rows, columns))),
                weight=rng.integers(-50, 50, (outputs, 3, 1, 1)) % 100 - 50, pool=(1, step)))
        branches = branches[::rng.choice([1, -1])]
    return LayerDefinition(
        branches=branches, neuron=None if readout else random_neuron(rng, config),
        bias=rng.integers(-500, 500, outputs), shift=rng.integers(2, 6, outputs) + slots * planes,
        planes=bool(planes), stride=stride, emit=emit,
        steps=int(rng.integers(1, min(8, config.slots) + 1)) if planes else slots)


def random_tape(rng: np.random.Generator, config: ArrayConfig, *, taps: bool, pieces: int = 1,
                **options) -> Tape:
    """Layers are drawn until one fits."""
    while True:
        layer = random_layer(rng, config, taps=taps, **options)
        tiles = options.get("tiles", 1)
        rows = layer.branches[0].sums(layer.stride).shape[2]
        cuts = np.unique(rng.integers(1, rows, pieces - 1)) if rows > 1 else ()
        try:
            return tape(layer, config, taps=taps, narrow=int(rng.integers(0, 3)),
                        tag=int(rng.integers(256)), segments=[int(cut) for cut in cuts],
                        column=int(rng.integers(config.tiles_per_word)) if tiles < 5 else 0)
        except DoesNotFit:
            continue


@TAPS
@pytest.mark.parametrize("seed", range(6))
def test_random_passes(device, seed, taps):
    rng = np.random.default_rng([seed, taps])
    for _ in range(20):
        check(device, random_tape(rng, CONFIG, taps=taps))


@TAPS
def test_stalls_change_no_value(stalled, taps):
    rng = np.random.default_rng(taps)
    for _ in range(10):
        check(stalled, random_tape(rng, CONFIG, taps=taps), cycles=False)
        check(stalled, random_tape(rng, CONFIG, taps=taps, emit=Emit.MEMBRANES), cycles=False)


@TAPS
@pytest.mark.parametrize("pieces", [2, 4])
def test_maps_in_several_passes(device, pieces, taps):
    """The maps come row by row, over those of the pass before; sums in line buffers carry over."""
    rng = np.random.default_rng([pieces, taps])
    for _ in range(12):
        check(device, random_tape(rng, CONFIG, taps=taps, pieces=pieces))


@TAPS
@pytest.mark.parametrize("readout", [False, True], ids=["neurons", "readout"])
@pytest.mark.parametrize("emit", [Emit.MEMBRANES, Emit.LOGITS], ids=["membranes", "logits"])
def test_probe_words(device, emit, readout, taps):
    rng = np.random.default_rng([emit, readout, taps])
    for _ in range(8):
        check(device, random_tape(rng, CONFIG, taps=taps, emit=emit, readout=readout,
                                  kernels=(1, 3), tiles=1 if taps else int(rng.integers(1, 4))))


@pytest.mark.parametrize("tiles", range(2, CONFIG.banks + 1))
def test_several_tiles(device, tiles):
    rng = np.random.default_rng(tiles)
    for _ in range(5):
        check(device, random_tape(rng, CONFIG, taps=False, tiles=tiles,
                                  kernels=(1, 1, 2) if tiles < 5 else (1,)))


@pytest.mark.parametrize("emit", Emit, ids=str)
@pytest.mark.parametrize("passes", [1, 2, 3])
def test_dense_layers_over_a_map_in_passes_that_share_their_sums(device, passes, emit):
    rng = np.random.default_rng([passes, emit])
    for index in range(6):
        tiles, slots = int(rng.integers(1, 7)), int(rng.integers(1, 9))
        height, width = int(rng.integers(passes, 5)), int(rng.integers(1, 4))
        channels = int(rng.integers(1, 256 // (height * width) + 1))
        planes, outputs = index % 3 == 2, tiles * CONFIG.lanes
        layer = LayerDefinition(
            branches=[Branch(spikes=random_spikes(rng, slots, channels, height, width),
                             weight=rng.integers(-25, 26, (outputs, channels, height, width)))],
            neuron=random_neuron(rng, CONFIG) if index % 2 else None,
            bias=rng.integers(-500, 500, outputs), shift=rng.integers(2, 9, outputs),
            steps=int(rng.integers(1, 9)) if planes else slots, planes=planes, emit=emit)
        cuts = 1 + np.sort(rng.permutation(height - 1)[:passes - 1])
        check(device, dense_tape(layer, CONFIG, segments=[int(cut) for cut in cuts],
                                 column=int(rng.integers(3))))


@TAPS
@pytest.mark.parametrize("value", [0, 1], ids=["silent", "full"])
def test_no_spike_and_all_spikes(device, value, taps):
    """One cycle for every spike, and for every slot of a site without one."""
    slots, channels, height, width = 4, 20, 5, 6
    branch = Branch(spikes=np.full((slots, channels, height, width), value, np.uint8), padding=1,
                    weight=np.random.default_rng(1).integers(
                        -9, 9, (CONFIG.lanes, channels, 3, 3)))
    neuron = random_neuron(np.random.default_rng(2), CONFIG)
    layer = LayerDefinition(branches=[branch], neuron=neuron, steps=slots,
                            bias=np.arange(CONFIG.lanes), shift=np.full(CONFIG.lanes, 3))
    seen = check(device, tape(layer, CONFIG, taps=taps))
    inside = (3 * height - 2) * (3 * width - 2) if not taps else height * width
    assert seen["events"] == value * slots * channels * inside


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("counts", ["any", "sum"])
@TAPS
def test_windows_that_reach_out_of_the_map(device, taps, counts, size):
    """Odd maps, windows that overlap, and a padded kernel on top."""
    rng = np.random.default_rng([size, taps])
    for height, width, step, pool_padding in ((5, 4, 2, 1), (3, 7, 1, 1), (6, 6, 2, 0),
                                              (4, 5, 3, size - 1)):
        branch = Branch(spikes=random_spikes(rng, 3, 9, height, width), padding=1,
                        pool=(size, step), weight=rng.integers(-20, 20, (CONFIG.lanes, 9, 3, 3)),
                        pool_padding=pool_padding, any=counts == "any")
        layer = LayerDefinition(
            branches=[branch], neuron=random_neuron(rng, CONFIG), steps=3,
            bias=rng.integers(-500, 500, CONFIG.lanes), shift=np.full(CONFIG.lanes, 3))
        check(device, tape(layer, CONFIG, taps=taps, column=3))


@pytest.mark.parametrize("taps,queue,group_lanes", [
    (False, 1, 1), (False, 1, 2), (False, 2, 1), (True, 3, 2), (True, 3, 4)])
def test_the_shortest_queues_before_the_neurons(taps, queue, group_lanes):
    """Where a readout may have to wait for a state that is taken on its way."""
    config = replace(CONFIG, readout_queue=queue, group_lanes=group_lanes,
                     line_words=CONFIG.line_words if taps else 0)
    assert config.forwards
    rng = np.random.default_rng([taps, queue, group_lanes])
    with VerilatedTransport(config, idle_limit=300_000) as device:
        for emit in 20 * (Emit.NONE, Emit.LOGITS, Emit.MEMBRANES):
            check(device, random_tape(rng, config, taps=taps, emit=emit))


#: Changes of `CONFIG` that choose memory technology, stages and running sums one by one; the
#: presets have the other combinations.
BUILDS = {
    "slow clock": {"pipelined": 0},
    "fast clock, block RAM": {"lut_ram": 0, "line_words": 0},
    "no running sums": {"running_lanes": 0},
}


@pytest.mark.parametrize("build", BUILDS)
def test_memories_and_stages_are_chosen_on_their_own(build):
    """A serial checksum holds up what a pass emits: then its cycles are more than predicted."""
    config = replace(CONFIG, **BUILDS[build])
    rng = np.random.default_rng(len(build))
    with VerilatedTransport(config, idle_limit=300_000) as device:
        for emit in 10 * (Emit.NONE, Emit.LOGITS, Emit.MEMBRANES):
            for taps in {config.kernel_taps, False}:
                check(device, random_tape(rng, config, taps=taps, emit=emit),
                      cycles=bool(config.pipelined) or emit == Emit.NONE)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny-conv", "default", "large"])
def test_many_random_passes(name):
    config = preset(name)
    with VerilatedTransport(config, idle_limit=100_000) as device:
        rng = np.random.default_rng(7)
        for index in range(400 if name == "tiny-conv" else 40):
            taps = index % 3 > 0
            check(device, random_tape(
                rng, config, taps=taps, pieces=1 + index // 3 % 2, readout=index % 7 == 0,
                emit=Emit(index % 5 % 3), tiles=1 if taps else int(rng.integers(1, 4))))
