"""Arrays on FPGAs: synthesis, packing, floorplan, place and route, and the figures of all that.

    Verilog -> synthesis (yosys -> packing, floorplan) -> netlist.json -> nextpnr -> figures

| file | what it holds |
|---|---|
| `devices` | devices as data: options of the tools, names of cells |
| `blocks` | blocks that can be measured alone, and the harness around them |
| `variants` | blocks that are only measured |
| `synthesis` | Verilog to a flat netlist |
| `netlist` | a netlist with drivers and sinks |
| `packing` | what yosys leaves undone on an ECP5, by the next two |
| `register_packing` | flip-flops into block RAMs and multipliers |
| `carry_packing` | LUTs into carry chains |
| `floorplan` | sites of block RAMs and multipliers |
| `tools` | how yosys and nextpnr are called |
| `measure` | area and clock of blocks on devices |
| `summary` | figures as files, and against a baseline |
| `baselines/` | the figures that were measured last, as JSON |
"""
