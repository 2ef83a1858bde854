"""Small Verilog modules that stand in for the core, right ones and wrong ones."""

PORTS = """(input clk, input rst,
    input [31:0] s_axis_tdata, input s_axis_tvalid, output s_axis_tready, input s_axis_tlast,
    output [31:0] m_axis_tdata, output m_axis_tvalid, input m_axis_tready, output m_axis_tlast);
"""


def loopback(*, body: str = "", ready: str = "level != 16", valid: str = "level != 0",
             data: str = "word[31:0]", last: str = "word[32]", wait: str = "1'b1") -> str:
    """A FIFO of 16 words from input to output; each argument replaces an expression of it."""
    return f"""module quadfire{PORTS}
    reg [32:0] fifo_mem [0:15];
    reg [4:0] write, read;
    reg [31:0] sent;
    wire [4:0] level = write - read;
    wire [32:0] word = fifo_mem[read[3:0]];
    {body}
    assign s_axis_tready = ({ready}) && ({wait});
    assign m_axis_tvalid = {valid};
    assign m_axis_tdata = {data};
    assign m_axis_tlast = {last};
    always @(posedge clk)
        if (rst) begin
            write <= 0;
            read <= 0;
            sent <= 0;
        end else begin
            if (s_axis_tvalid && s_axis_tready) begin
                fifo_mem[write[3:0]] <= {{s_axis_tlast, s_axis_tdata}};
                write <= write + 5'd1;
            end
            if (m_axis_tvalid && m_axis_tready) begin
                read <= read + 5'd1;
                sent <= sent + 32'd1;
            end
        end
endmodule
"""


#: {what a transport must report: a module that breaks this rule}.
BLINK = "reg blink; always @(posedge clk) blink <= rst ? 1'b0 : ~blink;"
BROKEN = {
    "tvalid fell": loopback(body=BLINK, valid="level != 0 && (sent < 5 || blink)"),
    "tdata changed": loopback(body=BLINK, data="word[31:0] ^ {31'd0, blink && sent > 5}"),
    "tlast changed": loopback(body=BLINK, last="word[32] ^ (blink && sent > 5)"),
}

#: A strobe: twice its signed input plus an offset, three cycles later.
DOUBLE = """module double(input clk, input rst, input i__valid, input [7:0] i__payload,
    input [7:0] offset, output reg o__valid, output reg [8:0] o__payload);
    reg [8:0] s1, s2;
    reg v1, v2;
    always @(posedge clk) begin
        s1 <= {i__payload, 1'b0};
        s2 <= s1 + {offset[7], offset};
        o__payload <= s2;
        if (rst) {v1, v2, o__valid} <= 3'd0;
        else {v1, v2, o__valid} <= {i__valid, v1, v2};
    end
endmodule
"""
