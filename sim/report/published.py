"""Published figures of other FPGA accelerators of spiking networks.

All figures were read in the source itself. No two accelerators run the same network, with the same
time steps and spike rates, on the same device with the same tools. So every entry says what can be
compared with our figures, and what cannot.
"""

from dataclasses import dataclass

from tabulate import tabulate

__all__ = ["PUBLISHED", "Published", "markdown"]


@dataclass(frozen=True)
class Published:
    """What a paper reports of an accelerator.

    | field | meaning |
    |---|---|
    | `reports` | figures as the paper gives them |
    | `beside` | the network of our table that is nearest, "" where none is |
    | `fair`, `unfair` | what can be compared, what cannot |
    """

    name: str
    arxiv: str
    reports: str
    beside: str
    fair: str
    unfair: str

    @property
    def source(self) -> str:
        """A link to the paper, in Markdown."""
        return f"[arXiv:{self.arxiv}](https://arxiv.org/abs/{self.arxiv})"


PUBLISHED = (
    Published("Flexi-NeurA", "2602.18140",
         "256-128-10 on MNIST: 97.23 % (96.23 % in a later version), 1.1 ms an image, 1,623 logic "
         "cells, 7 block RAMs, 111 mW",
         "256-128-10", "the same layers, event driven",
         "LIF; its network is trained, our two of that shape are not; other device and tools"),
    Published("Spiker+", "2401.01141",
         "MNIST: 780 µs an image, 7,612 logic cells, 18 block RAMs, 180 mW",
         "784-128-10", "the same task, a small device",
         "LIF; circuits generated for one network, while the array takes any; all of MNIST, ours "
         "knows 4,000 digits"),
    Published("snn-fpga", "2507.07284",
         "MNIST: 0.52 ms an image at 100 MHz on an Artix-7, 6,358 LUT, 40.5 block RAMs",
         "784-128-10", "the same task on a programmable array, code public",
         "integrate-and-fire; other layers and time steps; LUTs of six inputs"),
    Published("Semantics-preserving co-design", "2604.22179",
         "MNIST: 0.1375 µs an image at 80 MHz; 87.40 %, 10,000 of 10,000 images as in software",
         "784-128-10", "identical to its software, as ours",
         "time to first spike, a network small enough for 11 cycles; ten points less accurate"),
    Published("FireFly", "2301.01905",
         "peak of 5.53 TOP/s at 300 MHz; 8 SOP a cycle and DSP48E2",
         "VGG-11, ResNet-19", "convolutional networks, any that its software maps",
         "a dense peak: at a spike rate r only r of it is active, ours counts active SOP; two "
         "operations a SOP, so 2.76 TSOP/s; UltraScale+ and vendor tools"),
    Published("FireFly v2", "2309.16158",
         "500-600 MHz; twice the throughput and DSP efficiency of FireFly",
         "VGG-11, ResNet-19",
         "convolutions, pools and residuals, time steps side by side, no membrane stored, as ours",
         "a dense peak, as above; UltraScale+ and vendor tools"),
)


def markdown() -> str:
    """The table of published figures in Markdown."""
    head = ["accelerator", "source", "reports", "beside our", "what compares", "what does not"]
    rows = [[item.name, item.source, item.reports, item.beside, item.fair, item.unfair]
            for item in PUBLISHED]
    return tabulate(rows, head, tablefmt="github", disable_numparse=True) + "\n"
