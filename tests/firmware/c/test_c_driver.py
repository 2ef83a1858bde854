"""The C driver on this machine, with sanitizers, before the Verilated AXI shell."""

import dataclasses
import re
import subprocess

import numpy as np
import pytest

from quadfire.firmware.c.tape_header import c_header, input_spans
from quadfire.firmware.compiler.compile import compile_network
from quadfire.firmware.driver.session import inference_tape, pack_inputs, setup_tape
from quadfire.firmware.tape.packets import decode
from quadfire.models.integer import IntegerNetwork, MembraneAnswer, reference
from quadfire.models.integer.random_network import random_inputs, random_network
from quadfire.paths import PRETRAINED
from quadfire.rtl.contract.config import preset
from quadfire.sim.verilator import c_driver, toolchain

from tests.command import quadfire

TINY = preset("tiny")
TROUBLE = ["a wrong device: no Quadfire device stands at these registers",
           "a wrong device: the device or the tape has another version than the driver",
           "a wrong device: the tape was made for another array",
           "damage: the device refused a packet", "no room: the results do not fit",
           "silence: nothing moved any more", "reset: all is well"]


def network_of(seed: int = 11, input_bits: int = 4):
    rng = np.random.default_rng(seed)
    network = random_network(rng, TINY, sizes=[40, 9, 6, 4], steps=3, input_bits=input_bits,
                             readout=True)
    return network, random_inputs(rng, network, 5)


@pytest.mark.parametrize("input_bits, stalls", [(4, 0.0), (0, 0.4)])
def test_networks_are_bit_exact_and_trouble_is_told(input_bits, stalls):
    network, inputs = network_of(input_bits=input_bits)
    expected = reference.run(network, inputs).logits.numpy()
    got, log = c_driver.run(compile_network(network, TINY), inputs, stream_bits=64, idle=stalls,
                            backpressure=stalls)
    assert np.array_equal(got[:-1], expected)
    assert np.array_equal(got[-1], expected[0])
    lines = log.splitlines()
    for line in TROUBLE:
        assert line in lines, log
    assert lines.count("run: all is well") == 5


@pytest.mark.slow
def test_the_trained_network():
    from quadfire.models.datasets import mnist5k

    images = mnist5k().held_out_set[0].numpy()[::50]
    network = IntegerNetwork.load(PRETRAINED / "mnist5k-784-128-10-int8.safetensors")
    expected = reference.run(network, images).logits.numpy()
    got, _ = c_driver.run(compile_network(network, preset("default")), images)
    assert np.array_equal(got[:-1], expected)


@pytest.mark.fast
def test_pixels_are_packed_as_the_compiler_does(tmp_path):
    network, inputs = network_of(3)
    program = compile_network(network, TINY)
    pixels = ", ".join(map(str, inputs[0]))
    (tmp_path / "main.c").write_text(f"""
        #include "quadfire.h"
        #include <stdio.h>
        int main(void) {{
            static const uint8_t pixels[] = {{{pixels}}};
            uint32_t words[64];
            size_t at, count = qf_pack_pixels(pixels, {network.inputs}, {network.input_bits},
                                              {TINY.word_bits}, words, 64);
            for (at = 0; at < count; ++at) printf("%lu ", (unsigned long)words[at]);
            return qf_pack_pixels(pixels, {network.inputs}, {network.input_bits},
                                  {TINY.word_bits}, words, count - 1) == count ? 0 : 1;
        }}""")
    subprocess.run([toolchain.c_compiler(), *c_driver.FLAGS, "-I", c_driver.C_DRIVER, "main.c",
                    c_driver.C_DRIVER / "quadfire.c", "-o", "main"], cwd=tmp_path, check=True)
    text = subprocess.run([tmp_path / "main"], check=True, text=True, capture_output=True).stdout
    assert [int(word) for word in text.split()] == pack_inputs(program, inputs[:1]).ravel().tolist()


@pytest.mark.fast
def test_the_header_holds_the_tapes():
    network, inputs = network_of()
    program = compile_network(network, TINY)
    text = c_header(program, inputs[:1], "digits")
    for name, tape in (("setup", setup_tape(program, 0)), ("run", inference_tape(program,
            inputs[:1], 1))):
        body = re.search(rf"digits_{name}_words\[\] = {{(.*?)}};", text, re.S)
        assert body is not None
        words = [int(word, 16) for word in re.findall(r"0x[0-9a-f]{8}", body[1])]
        assert words == tape.to_array().tolist()
    assert f"#define DIGITS_INPUT_WORDS {pack_inputs(program, inputs[:1]).size}\n" in text
    with pytest.raises(ValueError, match="lower-case letters"):
        c_header(program, inputs[:1], "Net 1")


@pytest.mark.fast
def test_input_spans_are_the_words_of_the_input():
    network, inputs = network_of()
    program = compile_network(network, TINY)
    tape, words = inference_tape(program, inputs[:1]), pack_inputs(program, inputs[:1])
    whole = tape.to_array()
    spans = input_spans(tape, words)
    assert np.array_equal(np.concatenate([whole[at:at + n] for at, n in spans]), words.ravel())
    assert all(decode(packet) for packet in tape.packets)
    with pytest.raises(ValueError, match="other spikes than those of the input"):
        input_spans(tape, words ^ np.uint32(1))


@pytest.mark.fast
def test_the_command(tmp_path):
    network = PRETRAINED / "mnist5k-784-128-10-int8.safetensors"
    target = tmp_path / "tape.h"
    done = quadfire("header", network, "-o", target)
    assert done.status == 0 and "net_setup and net_run" in done.out
    subprocess.run([toolchain.c_compiler(), "-std=c99", "-fsyntax-only", "-I", c_driver.C_DRIVER,
                    "-x", "c", target], check=True)
    done = quadfire("header", network, "-o", target, "--name", "No")
    assert done.status == 2 and "error:" in done.err


@pytest.mark.fast
@pytest.mark.parametrize("image, wrong", [
    (np.zeros((2, 28, 28), np.uint8), "one image has 784 values, not 1568"),
    (np.full((28, 28), 300), "must lie in 0..255, not 300..300"),
    (np.zeros((1, 784)), "must be integers or bool, not float64")])
def test_images_that_it_refuses(image, wrong, tmp_path):
    np.save(tmp_path / "image.npy", image)
    done = quadfire("header", PRETRAINED / "mnist5k-784-128-10-int8.safetensors",
                    "-o", tmp_path / "tape.h", "--image", tmp_path / "image.npy")
    assert done.status == 2 and wrong in done.err
    assert not (tmp_path / "tape.h").exists()


@pytest.mark.fast
def test_a_sequence_in_chunks_has_no_tape_of_its_own():
    config = preset("tiny-conv")
    network = dataclasses.replace(random_network(np.random.default_rng(3), config, sizes=[12, 8, 4],
                                                 steps=8, input_bits=2), steps=16)
    with pytest.raises(ValueError, match="16 time steps run in 2 chunks on an array of 8 slots"):
        c_header(compile_network(network, config), np.zeros((1, 12), np.uint8))


@pytest.mark.fast
@pytest.mark.parametrize(("over", "steps"), [("last", 1), ("sum", 4)])
def test_the_header_says_where_membranes_are(over, steps):
    """As quadfire.h says: output k after step t of those that come."""
    network = dataclasses.replace(
        random_network(np.random.default_rng(4), TINY, sizes=(20, 11), steps=4, input_bits=0,
                       readout=False), answer=MembraneAnswer(over=over))
    inputs = random_inputs(np.random.default_rng(4), network, 1)
    program = compile_network(network, TINY)
    text = c_header(program, inputs, "net")
    numbers = {name: int(value) for name, value in re.findall(r"#define NET_(\w+) (\d+)$", text,
                                                              re.M)}
    assert numbers["MEMBRANE_STEPS"] == steps and numbers["OUTPUTS"] == 11
    places, at = {}, 0
    for item in inference_tape(program, inputs, 1).expected:
        if item.what == "membranes":
            for lane in range(item.length):
                places[item.index * TINY.lanes + lane, item.step - (4 - steps)] = at + lane
        at += item.length
    for (k, t), place in places.items():
        assert place == numbers["MEMBRANES_AT"] + (
            k // numbers["LANES"] * steps + t) * numbers["LANES"] + k % numbers["LANES"]
    assert len(places) == -(-11 // TINY.lanes) * TINY.lanes * steps
