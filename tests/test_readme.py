"""The documents are true: commands run as written, figures are those that commands print."""

import re
import shlex
import subprocess
import sys

import pytest

from quadfire.models.datasets import mnist5k
from quadfire.models.integer import IntegerNetwork
from quadfire.models.training.checkpoint import load_checkpoint
from quadfire.paths import CHECKOUT, PRETRAINED

from tests.command import quadfire

assert CHECKOUT is not None

TEXT = (CHECKOUT / "README.md").read_text()
COMMANDS = re.findall(r"^    \.venv/bin/quadfire (.*?)(?:\s+#.*)?$", TEXT, re.MULTILINE)
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "rtl/README.md", "rtl/boards/README.md",
             "models/README.md", "firmware/README.md"]


def test_it_shows_commands():
    assert len(COMMANDS) >= 8
    assert "make demo" in TEXT and "make test" in TEXT


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run(command, tmp_path):
    words = [str(tmp_path) if word == "build/" else word for word in shlex.split(command)]
    if words[0] in ("demo", "dynamics"):
        words += ["--output", str(tmp_path)]
    result = subprocess.run([sys.executable, "-m", "quadfire", *words], cwd=CHECKOUT, text=True,
                            capture_output=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_table_of_the_demo_is_what_it_prints(tmp_path):
    (table,) = re.findall(r"^    ┌.*?^    └[^\n]*", TEXT, re.MULTILINE | re.DOTALL)
    done = quadfire("demo", "-o", tmp_path)
    assert done.status == 0, done.text
    for line in table.splitlines():
        assert line.strip() in done.out, line


@pytest.mark.fast
def test_accuracies_are_those_of_the_networks_that_come_with_it():
    """Floating point as the checkpoint has it, integers as they were measured when made."""
    def held_out(name: str) -> float:
        path = PRETRAINED / f"{name}.safetensors"
        about = IntegerNetwork.load(path).about if "-int" in name else load_checkpoint(path)[1]
        return about["accuracy"]["held_out"]

    dense, conv = "mnist5k-784-128-10", "mnist5k-conv"
    assert f"| floating point, seed 1 | {held_out(dense):.2%}".replace("%", " %") in TEXT
    for bits in (8, 4):
        share = f"{held_out(f'{dense}-int{bits}'):.2%}".replace("%", " %")
        assert f"| integers, {bits}-bit weights, 12-bit membrane | {share} |" in TEXT
    shares = [f"{held_out(name):.1%}".replace("%", " %")
              for name in (conv, f"{conv}-int8", f"{conv}-int4")]
    assert f"floating point | {shares[0]} |" in TEXT and f"| {shares[1]}, {shares[2]} |" in TEXT


@pytest.mark.slow
def test_resnet19_is_what_the_command_prints(tmp_path):
    """Mismatches; the cycles to the fourth digit, as the weights are drawn in floating point."""
    done = quadfire("deep", "resnet19", "-o", tmp_path)
    assert done.status == 0, done.text
    for pattern, tolerance in ((r"mismatched spikes: 0 of ([\d,]+)", 0),
                               (r"additions: [\d,]+ in ([\d,]+) cycles of 576 lanes", 1e-3),
                               (r"spikes read back: ([\d,]+) cycles", 1e-3)):
        said, got = (int(re.search(pattern, " ".join(text.split()))[1].replace(",", ""))
                     for text in (TEXT, done.out))
        assert got == pytest.approx(said, rel=tolerance)


@pytest.mark.fast
@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_names_of_files_lead_somewhere(document):
    text, folder = (CHECKOUT / document).read_text(), (CHECKOUT / document).parent
    for link in re.findall(r"\]\(([\w./:-]{2,})[^)]*\)", text):
        assert link.startswith("http") or (folder / link).exists(), link
    for name in re.findall(r"`((?:rtl|models|firmware|sim|tests)/[\w/.]+\.\w+)`", text):
        assert (CHECKOUT / name).exists(), name


@pytest.mark.fast
def test_targets_and_verbs_exist():
    from quadfire.cli import VERBS

    makefile = (CHECKOUT / "Makefile").read_text()
    for document in DOCUMENTS:
        text = (CHECKOUT / document).read_text()
        for target in set(re.findall(r"`make ([a-z0-9-]+)`?", text)):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
        for verb in set(re.findall(r"(?:`|bin/|^    )quadfire ([a-z][a-z-]*)", text, re.MULTILINE)):
            assert verb in {known.name for known in VERBS}, f"{document}: quadfire {verb}"


def test_python_runs():
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    labels = mnist5k().held_out_set[1].numpy()
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    result = names["result"]
    assert (result.outputs.argmax(axis=1) == labels[::50]).mean() >= 0.8
    assert result.spikes[0].shape == (4, 20, 128)
