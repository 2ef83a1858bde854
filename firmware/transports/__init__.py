"""Ways to real devices: `axi` for a device with the AXI shell, through a DMA of some kind.

    axi_dma     the AXI DMA by its registers, direct mode
    uio         registers and memory through /dev/uio, /dev/mem and u-dma-buf on any Linux
    pynq        PYNQ's Overlay, DMA, MMIO and allocate
"""
