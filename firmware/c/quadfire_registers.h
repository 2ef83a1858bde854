/* generated from rtl/contract/registers.py by `quadfire registers --format c` */
#ifndef QUADFIRE_REGISTERS_H
#define QUADFIRE_REGISTERS_H

#define QF_MAGIC_VALUE 0x51464952u
#define QF_MAP_VERSION_VALUE 0x00010001u
#define QF_TAPE_VERSION_VALUE 0x00030001u

/* Headers of packets */
#define QF_HEADER_LENGTH 0x0000ffffu
#define QF_HEADER_LENGTH_SHIFT 0
#define QF_HEADER_SEQUENCE 0x00ff0000u
#define QF_HEADER_SEQUENCE_SHIFT 16
#define QF_HEADER_OPCODE 0xff000000u
#define QF_HEADER_OPCODE_SHIFT 24
#define QF_ANSWER_PROBE 0x81u
#define QF_ANSWER_SPIKES 0x82u
#define QF_ANSWER_REPORT 0x83u
#define QF_ANSWER_ERROR 0x84u
#define QF_ANSWER_INFO 0x85u

/* QFIR in ASCII, the first letter in the most significant byte */
#define QF_REG_MAGIC 0x000u

/* version of this table: major in bits 31:16, minor in bits 15:0 */
#define QF_REG_MAP_VERSION 0x004u

/* version of the tape: major in bits 31:16, minor in bits 15:0 */
#define QF_REG_TAPE_VERSION 0x008u

/* hash of the array's configuration; every tape carries it */
#define QF_REG_CONFIGURATION 0x00cu

/* width of both streams */
#define QF_REG_STREAM_BITS 0x010u

/* longest payload of a packet, in 32-bit words */
#define QF_REG_PAYLOAD_WORDS 0x014u

/* What the host asks for. */
#define QF_REG_CONTROL 0x040u
#define QF_CONTROL_RESET 0x00000001u /* holds the core in reset: it forgets the network, input is taken and dropped, an output frame under way is ended by one word 0. Write 0 once status.input_waiting is 0 */
#define QF_CONTROL_CLEAR 0x00000002u /* sets all counters to 0 */

/* What the shell is doing. */
#define QF_REG_STATUS 0x044u
#define QF_STATUS_HELD 0x00000001u /* the core is in reset */
#define QF_STATUS_INPUT_WAITING 0x00000002u /* input beats wait in the FIFO */
#define QF_STATUS_INPUT_OPEN 0x00000004u /* an input packet has begun and not ended */
#define QF_STATUS_OUTPUT_WAITING 0x00000008u /* output beats wait in the FIFO */
#define QF_STATUS_OUTPUT_OPEN 0x00000010u /* an output frame has begun and not ended */

/* How answers are joined to frames of m_axis. */
#define QF_REG_FRAME 0x048u
#define QF_FRAME_ANSWERS 0x0000ffffu /* answers in a frame, whose last word has TLAST; 0 counts as 1. An ERROR answer always ends its frame */
#define QF_FRAME_ANSWERS_SHIFT 0

/* What went wrong since the bits were cleared. */
#define QF_REG_ERROR 0x04cu
#define QF_ERROR_ACCESS 0x00000001u /* an AXI4-Lite access was answered with SLVERR */
#define QF_ERROR_KEEP 0x00000002u /* TKEEP kept only some bytes of an input word; the word was dropped */
#define QF_ERROR_TRUNCATED 0x00000004u /* TLAST came inside a packet, which was ended there */
#define QF_ERROR_OVERSIZE 0x00000008u /* a header had an impossible length; input up to TLAST was dropped */
#define QF_ERROR_REFUSED 0x00000010u /* the core answered ERROR: see fault and fault_header */

/* Why the core refused the first packet since error.refused was cleared. */
#define QF_REG_FAULT 0x050u
#define QF_FAULT_CAUSE 0x000000ffu /* cause of the ERROR answer */
#define QF_FAULT_CAUSE_SHIFT 0
#define QF_FAULT_CAUSE_CRC 1u
#define QF_FAULT_CAUSE_TRUNCATED 2u
#define QF_FAULT_CAUSE_OVERRUN 3u
#define QF_FAULT_CAUSE_OVERSIZE 4u
#define QF_FAULT_CAUSE_SEQUENCE 5u
#define QF_FAULT_CAUSE_OPCODE 6u
#define QF_FAULT_CAUSE_CONFIGURATION 7u
#define QF_FAULT_CAUSE_NETWORK 8u
#define QF_FAULT_CAUSE_ARGUMENT 9u
#define QF_FAULT_CAUSE_LIMIT 10u

/* Header of that packet, as it was received. */
#define QF_REG_FAULT_HEADER 0x054u

/* Which events raise irq. */
#define QF_REG_INTERRUPT_ENABLE 0x058u
#define QF_INTERRUPT_ENABLE_ANSWER 0x00000001u /* an output frame has left, up to its TLAST */
#define QF_INTERRUPT_ENABLE_ERROR 0x00000002u /* a bit of error was set */

/* Which events have happened. irq is high while an enabled one is set. */
#define QF_REG_INTERRUPT 0x05cu
#define QF_INTERRUPT_ANSWER 0x00000001u /* an output frame has left, up to its TLAST */
#define QF_INTERRUPT_ERROR 0x00000002u /* a bit of error was set */

/* clock cycles */
#define QF_REG_CYCLES 0x080u

/* bytes taken from s_axis, as TKEEP counts them */
#define QF_REG_INPUT_BYTES 0x084u

/* beats taken from s_axis */
#define QF_REG_INPUT_BEATS 0x088u

/* beats with TLAST taken from s_axis */
#define QF_REG_INPUT_FRAMES 0x08cu

/* packets given to the core, damaged ones included */
#define QF_REG_INPUT_PACKETS 0x090u

/* cycles in which s_axis had TVALID but not TREADY */
#define QF_REG_INPUT_STALLS 0x094u

/* bytes given to m_axis, as TKEEP counts them */
#define QF_REG_OUTPUT_BYTES 0x098u

/* beats given to m_axis */
#define QF_REG_OUTPUT_BEATS 0x09cu

/* beats with TLAST given to m_axis */
#define QF_REG_OUTPUT_FRAMES 0x0a0u

/* answers of the core */
#define QF_REG_OUTPUT_PACKETS 0x0a4u

/* cycles in which m_axis had TVALID but not TREADY */
#define QF_REG_OUTPUT_STALLS 0x0a8u

/* banks of the array's configuration */
#define QF_REG_CONFIG_BANKS 0x100u

/* lanes of the array's configuration */
#define QF_REG_CONFIG_LANES 0x104u

/* group_lanes of the array's configuration */
#define QF_REG_CONFIG_GROUP_LANES 0x108u

/* weight_bits of the array's configuration */
#define QF_REG_CONFIG_WEIGHT_BITS 0x10cu

/* weight_rows of the array's configuration */
#define QF_REG_CONFIG_WEIGHT_ROWS 0x110u

/* weight_ports of the array's configuration */
#define QF_REG_CONFIG_WEIGHT_PORTS 0x114u

/* accumulator_bits of the array's configuration */
#define QF_REG_CONFIG_ACCUMULATOR_BITS 0x118u

/* slots of the array's configuration */
#define QF_REG_CONFIG_SLOTS 0x11cu

/* lut_ram of the array's configuration */
#define QF_REG_CONFIG_LUT_RAM 0x120u

/* readout_queue of the array's configuration */
#define QF_REG_CONFIG_READOUT_QUEUE 0x124u

/* sources of the array's configuration */
#define QF_REG_CONFIG_SOURCES 0x128u

/* line_words of the array's configuration */
#define QF_REG_CONFIG_LINE_WORDS 0x12cu

/* state_bits of the array's configuration */
#define QF_REG_CONFIG_STATE_BITS 0x130u

/* fraction_bits of the array's configuration */
#define QF_REG_CONFIG_FRACTION_BITS 0x134u

/* current_bits of the array's configuration */
#define QF_REG_CONFIG_CURRENT_BITS 0x138u

/* spike_words of the array's configuration */
#define QF_REG_CONFIG_SPIKE_WORDS 0x13cu

/* state_words of the array's configuration */
#define QF_REG_CONFIG_STATE_WORDS 0x140u

/* parameter_words of the array's configuration */
#define QF_REG_CONFIG_PARAMETER_WORDS 0x144u

/* packet_words of the array's configuration */
#define QF_REG_CONFIG_PACKET_WORDS 0x148u

/* pipelined of the array's configuration */
#define QF_REG_CONFIG_PIPELINED 0x14cu

/* running_lanes of the array's configuration */
#define QF_REG_CONFIG_RUNNING_LANES 0x150u

#endif
