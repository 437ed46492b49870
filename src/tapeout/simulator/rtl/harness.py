"""The C++ around a verilated module: ports by number, and a loop that runs many cycles per call.

The loop drives input streams from arrays and captures output streams into arrays, each offering or
accepting with its own probability per cycle, so that a test of a million cycles is one call.
"""

from __future__ import annotations

from tapeout.chip.rtl.block import Port

TEMPLATE = r"""
#include "VT.h"
#include "verilated.h"
%(trace_include)s
#include <cstdint>
#include <cstring>
double sc_time_stamp() { return 0; }
struct Stream {            // mirrored by `simulation.Stream`
  int32_t payload, valid, ready, words;
  uint32_t* data;          // [count][words]: what to send, or where to put what comes
  int64_t* stamps;         // [count]: the cycle of each transfer, or null
  int64_t count, position;
  uint64_t threshold;      // offered or accepted in a cycle when the next random 32 bits are below this
  int64_t busy;            // outputs: cycles with valid but not ready; inputs: the other way round
};
struct Model;
%(extension)s
struct Model {
  VerilatedContext context;
  VT* top;
  uint64_t random;
  int64_t cycle;
%(trace_member)s
  struct { void* at; int32_t bytes; } port[%(port_count)d];
  Extension extension;
};
static inline uint32_t next_random(Model* m) {
  uint64_t x = m->random;
  x ^= x << 13; x ^= x >> 7; x ^= x << 17;
  m->random = x;
  return uint32_t((x * 0x2545F4914F6CDD1DULL) >> 32);
}
static inline bool bit(Model* m, int p) { return *static_cast<uint8_t*>(m->port[p].at) & 1; }
static inline void set_bit(Model* m, int p, bool b) { *static_cast<uint8_t*>(m->port[p].at) = b; }
static inline void dump(Model* m, int phase) { %(trace_dump)s }
static void edge(Model* m) {
  %(clock_high)s
  m->top->eval();
  dump(m, 1);
  %(clock_low)s
  m->cycle++;
}
extern "C" {
Model* model_new(int random_start) {
  Model* m = new Model;
  m->context.randReset(random_start ? 2 : 0);
  m->context.randSeed(random_start);
  m->random = 0x9E3779B97F4A7C15ULL;
  m->cycle = 0;
%(trace_on)s
  m->top = new VT{&m->context, "top"};
%(port_table)s
%(trace_start)s
  return m;
}
void model_delete(Model* m) { %(trace_close)s m->top->final(); delete m->top; delete m; }
void model_poke(Model* m, int p, const uint32_t* words) { memcpy(m->port[p].at, words, m->port[p].bytes); }
void model_peek(Model* m, int p, uint32_t* words) { memcpy(words, m->port[p].at, m->port[p].bytes); }
void model_eval(Model* m) { m->top->eval(); %(eval_dump)s }
int64_t model_cycle(Model* m) { return m->cycle; }
%(trace_functions)sExtension* model_extension(Model* m) { return &m->extension; }
void model_step(Model* m, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    m->extension.drive(*m->top, m->cycle);
    m->top->eval();
    dump(m, 0);
    m->extension.sample(*m->top, m->cycle);
    edge(m);
  }
  m->top->eval();
}
void model_reset(Model* m, int cycles) {
  %(reset_high)s
  for (int i = 0; i < cycles; i++) { m->top->eval(); dump(m, 0); edge(m); }
  %(reset_low)s
  m->top->eval();
}
// One row of inputs per cycle; outputs are captured just before each clock edge.
void model_table(Model* m, int64_t rows, int ins, const int32_t* in, const uint32_t* const* from,
                 const int32_t* in_words, int outs, const int32_t* out, uint32_t* const* to,
                 const int32_t* out_words) {
  for (int64_t r = 0; r < rows; r++) {
    for (int i = 0; i < ins; i++) memcpy(m->port[in[i]].at, from[i] + r * in_words[i], m->port[in[i]].bytes);
    m->extension.drive(*m->top, m->cycle);
    m->top->eval();
    dump(m, 0);
    m->extension.sample(*m->top, m->cycle);
    for (int i = 0; i < outs; i++) memcpy(to[i] + r * out_words[i], m->port[out[i]].at, m->port[out[i]].bytes);
    edge(m);
  }
  m->top->eval();
}
// Runs until every output stream is full (or, if there is none, every input is sent) or for `limit` cycles.
int64_t model_run(Model* m, Stream* in, int ins, Stream* out, int outs, int64_t limit, uint64_t seed) {
  m->random = seed * 0x9E3779B97F4A7C15ULL + 0x1234567ULL;
  if (!m->random) m->random = 1;
  int64_t start = m->cycle;
  for (; m->cycle - start < limit;) {
    bool going = false;
    for (int i = 0; i < outs; i++) going |= out[i].position < out[i].count;
    if (!outs) for (int i = 0; i < ins; i++) going |= in[i].position < in[i].count;
    if (!going) break;
    for (int i = 0; i < ins; i++) {
      Stream& s = in[i];
      if (!bit(m, s.valid) && s.position < s.count && next_random(m) < s.threshold) {
        if (s.payload >= 0) memcpy(m->port[s.payload].at, s.data + s.position * s.words, m->port[s.payload].bytes);
        set_bit(m, s.valid, true);
      }
    }
    for (int i = 0; i < outs; i++)
      set_bit(m, out[i].ready, out[i].position < out[i].count && next_random(m) < out[i].threshold);
    m->extension.drive(*m->top, m->cycle);
    m->top->eval();
    dump(m, 0);
    m->extension.sample(*m->top, m->cycle);
    uint64_t fired = 0;
    for (int i = 0; i < ins; i++) {
      if (!bit(m, in[i].valid)) continue;
      if (bit(m, in[i].ready)) fired |= 1ULL << i; else in[i].busy++;
    }
    for (int i = 0; i < outs; i++) {
      Stream& s = out[i];
      if (!bit(m, s.valid)) continue;
      if (!bit(m, s.ready)) { s.busy++; continue; }
      if (s.payload >= 0) memcpy(s.data + s.position * s.words, m->port[s.payload].at, m->port[s.payload].bytes);
      if (s.stamps) s.stamps[s.position] = m->cycle;
      s.position++;
    }
    edge(m);
    for (int i = 0; i < ins; i++)
      if (fired >> i & 1) {
        if (in[i].stamps) in[i].stamps[in[i].position] = m->cycle - 1;
        in[i].position++;
        set_bit(m, in[i].valid, false);
      }
  }
  for (int i = 0; i < outs; i++) set_bit(m, out[i].ready, false);
  m->top->eval();
  return m->cycle - start;
}
}
"""

# What a caller may add: C++ that sees the module's ports in every cycle (a memory, a host).
# `drive` sets inputs before the cycle is evaluated, `sample` looks at everything before the clock edge.
NO_EXTENSION = """
struct Extension {
  void drive(VT& top, int64_t cycle) { (void)top; (void)cycle; }
  void sample(VT& top, int64_t cycle) { (void)top; (void)cycle; }
};
"""


def mangled(name: str) -> str:
    """Verilator's C++ name of a port."""
    return name.replace("__", "___05F")


def storage_bytes(width: int) -> int:
    """Bytes of the C++ type that holds a port of this width."""
    if width <= 8:
        return 1
    if width <= 16:
        return 2
    return 4 if width <= 32 else 8 if width <= 64 else 4 * -(-width // 32)


def source(ports: tuple[Port, ...], clocked: bool, extension: str, trace: bool = False) -> str:
    """The harness for a module with these ports; with `trace` it can write waveforms."""
    table = "\n".join(
        f"  m->port[{i}] = {{&m->top->{mangled(p.name)}, {storage_bytes(p.width)}}};"
        for i, p in enumerate(ports)
    )
    clocked_only = (lambda text: text) if clocked else (lambda text: "")
    return TEMPLATE % {
        "port_count": max(len(ports), 1),
        "port_table": table,
        "extension": extension or NO_EXTENSION,
        "clock_high": clocked_only("m->top->clk = 1;"),
        "clock_low": clocked_only("m->top->clk = 0;"),
        "reset_high": clocked_only("m->top->rst = 1;"),
        "reset_low": clocked_only("m->top->rst = 0;"),
        **{name: text if trace else "" for name, text in TRACE.items()},
        "trace_dump": TRACE_DUMP if trace else "(void)m; (void)phase;",
        "eval_dump": "" if trace else "dump(m, 0);",  # inputs may still change within the cycle
    }


# A cycle is a nanosecond of the waveform, counted from `origin`, the clock's rising edge in its middle. The library
# that the model is written with looks at it when it is made, so files are opened and closed later, and often.
TRACE = {
    "trace_include": '#include "verilated_vcd_c.h"',
    "trace_member": "  VerilatedVcdC* vcd = nullptr; int64_t origin = 0, dumped = -1;",
    "trace_on": "  m->context.traceEverOn(true);",
    "trace_start": "  m->vcd = new VerilatedVcdC; m->top->trace(m->vcd, 99);",
    "trace_close": "m->vcd->close(); delete m->vcd;",
    "trace_functions": """int model_trace(Model* m, const char* path, int64_t origin) {
  m->vcd->close();
  m->dumped = -1; m->origin = origin;
  if (path) m->vcd->open(path);
  return !path || m->vcd->isOpen();
}
""",
}
TRACE_DUMP = """int64_t at = 1000 * (m->cycle - m->origin) + 500 * phase;
  if (!m->vcd->isOpen() || at <= m->dumped) return;
  m->vcd->dump(uint64_t(at)); m->dumped = at;"""
