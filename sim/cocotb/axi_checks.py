"""Protocol checks of AXI in Verilog: a module around the shell that watches its ports.

`checked(verilog, ports)` adds the module `quadfire_axi_bench`. Its output `violation` is 0 until a
rule is broken, then the number of the first broken rule, which `rule` names. The rules are checked
at every clock edge without reset, on the channels of both directions:

- valid stays high until ready, and the payload does not change meanwhile;
- valid and ready are never X, nor is a valid payload;
- TKEEP of m_axis has no holes, is not 0, and is full in all beats of a frame but the last.
"""

__all__ = ["CHANNELS", "TOP", "checked", "rule"]

TOP = "quadfire_axi_bench"

#: {channel: names of its payload ports}.
CHANNELS = {
    "s_axi_aw": ("s_axi_awaddr",), "s_axi_w": ("s_axi_wdata", "s_axi_wstrb"),
    "s_axi_b": ("s_axi_bresp",), "s_axi_ar": ("s_axi_araddr",),
    "s_axi_r": ("s_axi_rdata", "s_axi_rresp"),
    "s_axis_t": ("s_axis_tdata", "s_axis_tkeep", "s_axis_tlast"),
    "m_axis_t": ("m_axis_tdata", "m_axis_tkeep", "m_axis_tlast"),
}

_RULES = ("valid fell before ready", "the payload changed before ready", "valid or ready is X",
          "the payload is X while valid", "TKEEP has holes or is 0",
          "TKEEP is not full before TLAST")

_CHANNEL = """
  reg {name}_pending;
  reg [{width}-1:0] {name}_held;
  wire [{width}-1:0] {name}_payload = {{{payload}}};
  always @(posedge aclk)
    if (!aresetn) {name}_pending <= 0;
    else begin
      {name}_pending <= {name}valid && !{name}ready;
      {name}_held <= {name}_payload;
      if ({name}_pending && !{name}valid) broken({base} + 0);
      else if ({name}_pending && {name}_payload !== {name}_held) broken({base} + 1);
      if (^{{{name}valid, {name}ready}} === 1'bx) broken({base} + 2);
      else if ({name}valid && ^{name}_payload === 1'bx) broken({base} + 3);
    end
"""

_KEEP = """
  always @(posedge aclk)
    if (aresetn && m_axis_tvalid) begin
      if (m_axis_tkeep == 0 || (m_axis_tkeep & (m_axis_tkeep + 1'b1)) != 0) broken({base} + 4);
      if (!m_axis_tlast && !(&m_axis_tkeep)) broken({base} + 5);
    end
"""


def rule(violation: int) -> str:
    """The name of the rule that a value of `violation` stands for."""
    channel, kind = divmod(violation - 1, len(_RULES))
    return f"{list(CHANNELS)[channel]}: {_RULES[kind]}"


def checked(verilog: str, ports: dict[str, dict]) -> str:
    """`verilog` with the module TOP around `quadfire_axi`. ports: those of its description."""
    lines = [f"\nmodule {TOP}({', '.join(ports)}, violation);"]
    for name, port in ports.items():
        lines.append(f"  {port['direction']} [{port['width'] - 1}:0] {name};")
    lines += ["  output reg [7:0] violation;", "  initial violation = 0;",
              "  task broken(input [7:0] number);",
              "    if (violation == 0) violation = number;", "  endtask",
              f"  quadfire_axi dut({', '.join(f'.{name}({name})' for name in ports)});"]
    for index, (name, payload) in enumerate(CHANNELS.items()):
        lines.append(_CHANNEL.format(name=name, payload=", ".join(payload),
                                     width=sum(ports[port]["width"] for port in payload),
                                     base=1 + index * len(_RULES)))
    lines += [_KEEP.format(base=1 + list(CHANNELS).index("m_axis_t") * len(_RULES)), "endmodule\n"]
    return verilog + "\n".join(lines)
