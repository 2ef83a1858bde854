# Builds a bitstream for a Zynq-7000: processor, AXI DMA, and the generated Verilog of Quadfire.
#
#     quadfire verilog --top axi --stream-bits 64 -o build/zynq
#     vivado -mode batch -source firmware/zynq/quadfire.tcl -tclargs build/zynq/quadfire_axi.v
#
# Arguments, in order:
#   source      the Verilog
#   part        default xc7z020clg400-1, the chip of PYNQ-Z1 and PYNQ-Z2
#   board       board part, default ""; without one the processor keeps the settings of its boot
#               loader, as an overlay needs it
#   megahertz   clock, default 100
#   folder      default build/zynq
#
# The folder then holds quadfire.bit and quadfire.hwh, which PYNQ's Overlay loads. The device is
# called quadfire_0 there, the DMA axi_dma_0.
#
# This script has not been run on a board yet.

set defaults [list "" xc7z020clg400-1 "" 100 build/zynq]
set given [concat $argv [lrange $defaults [llength $argv] end]]
lassign $given source part board megahertz folder
if {$source eq "" || ![file exists $source]} {
    error "the Verilog is missing: quadfire verilog --top axi -o build/zynq"
}

create_project -force quadfire $folder/project -part $part
if {$board ne ""} { set_property board_part $board [current_project] }
add_files -norecurse $source
update_compile_order -fileset sources_1

# The Verilog says how wide the streams are.
set file [open $source]
set text [read $file]
close $file
if {![regexp {input \[(\d+):0\] s_axis_tdata} $text all high]} {
    error "$source has no s_axis_tdata: was it made by --top axi?"
}
set bits [expr {$high + 1}]

create_bd_design system
set ps [create_bd_cell -type ip -vlnv xilinx.com:ip:processing_system7 ps]
if {$board ne ""} {
    apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 \
        -config {make_external "FIXED_IO, DDR" apply_board_preset "1"} $ps
} else {
    apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 \
        -config {make_external "FIXED_IO, DDR" apply_board_preset "0"} $ps
}
set_property -dict [list CONFIG.PCW_USE_M_AXI_GP0 1 CONFIG.PCW_USE_S_AXI_HP0 1 \
    CONFIG.PCW_USE_FABRIC_INTERRUPT 1 CONFIG.PCW_IRQ_F2P_INTR 1 \
    CONFIG.PCW_EN_CLK0_PORT 1 CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ $megahertz] $ps

# The device is a module reference: Vivado infers its interfaces from the names of its ports.
set device [create_bd_cell -type module -reference quadfire_axi quadfire_0]

# Direct mode, transfers of up to 64 MiB, streams as wide as those of the device.
set dma [create_bd_cell -type ip -vlnv xilinx.com:ip:axi_dma axi_dma_0]
set_property -dict [list CONFIG.c_include_sg 0 CONFIG.c_sg_include_stscntrl_strm 0 \
    CONFIG.c_sg_length_width 26 CONFIG.c_include_mm2s 1 CONFIG.c_include_s2mm 1 \
    CONFIG.c_m_axis_mm2s_tdata_width $bits CONFIG.c_s_axis_s2mm_tdata_width $bits \
    CONFIG.c_m_axi_mm2s_data_width $bits CONFIG.c_m_axi_s2mm_data_width $bits] $dma

set reset [create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset reset]
set control [create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect control]
set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 2] $control
set memory [create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect memory]
set_property -dict [list CONFIG.NUM_SI 2 CONFIG.NUM_MI 1] $memory
set interrupts [create_bd_cell -type ip -vlnv xilinx.com:ip:xlconcat interrupts]
set_property CONFIG.NUM_PORTS 3 $interrupts

foreach {from to} {
    ps/M_AXI_GP0            control/S00_AXI
    control/M00_AXI         quadfire_0/s_axi
    control/M01_AXI         axi_dma_0/S_AXI_LITE
    axi_dma_0/M_AXIS_MM2S   quadfire_0/s_axis
    quadfire_0/m_axis       axi_dma_0/S_AXIS_S2MM
    axi_dma_0/M_AXI_MM2S    memory/S00_AXI
    axi_dma_0/M_AXI_S2MM    memory/S01_AXI
    memory/M00_AXI          ps/S_AXI_HP0
} {
    connect_bd_intf_net [get_bd_intf_pins $from] [get_bd_intf_pins $to]
}

# One clock, one reset.
foreach pin {
    ps/M_AXI_GP0_ACLK ps/S_AXI_HP0_ACLK quadfire_0/aclk axi_dma_0/s_axi_lite_aclk
    axi_dma_0/m_axi_mm2s_aclk axi_dma_0/m_axi_s2mm_aclk control/aclk memory/aclk
    reset/slowest_sync_clk
} {
    connect_bd_net [get_bd_pins ps/FCLK_CLK0] [get_bd_pins $pin]
}
connect_bd_net [get_bd_pins ps/FCLK_RESET0_N] [get_bd_pins reset/ext_reset_in]
foreach pin {quadfire_0/aresetn axi_dma_0/axi_resetn control/aresetn memory/aresetn} {
    connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins $pin]
}

foreach {from to} {
    quadfire_0/irq             interrupts/In0
    axi_dma_0/mm2s_introut     interrupts/In1
    axi_dma_0/s2mm_introut     interrupts/In2
    interrupts/dout            ps/IRQ_F2P
} {
    connect_bd_net [get_bd_pins $from] [get_bd_pins $to]
}

assign_bd_address
validate_bd_design
save_bd_design

set wrapper [make_wrapper -files [get_files system.bd] -top]
add_files -norecurse $wrapper
set_property top system_wrapper [current_fileset]
update_compile_order -fileset sources_1

launch_runs impl_1 -to_step write_bitstream -jobs 4
wait_on_run impl_1
open_run impl_1
report_timing_summary -file $folder/timing.txt
report_utilization -file $folder/utilization.txt
if {[get_property SLACK [get_timing_paths -delay_type max]] < 0} {
    error "timing fails at $megahertz MHz: see $folder/timing.txt, or ask for a slower clock"
}

set runs [get_property DIRECTORY [get_runs impl_1]]
file copy -force $runs/system_wrapper.bit $folder/quadfire.bit
set handoff [glob $folder/project/quadfire.gen/sources_1/bd/system/hw_handoff/*.hwh]
file copy -force [lindex $handoff 0] $folder/quadfire.hwh
puts "$folder/quadfire.bit and $folder/quadfire.hwh"
