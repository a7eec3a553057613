// SPDX-License-Identifier: MIT
// A row about one operator: "conv 56x56x64x128 3x3", "pool 112x112x64", "add 56x56x256".
#include <charconv>
#include <vector>

#include "npu-probe/timing_setting.hpp"

namespace npu::probe {
namespace {

std::vector<std::uint32_t> numbers(const std::string& text) {
  std::vector<std::uint32_t> result;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    std::uint32_t value = 0;
    const auto [stop, error] = std::from_chars(at, end, value);
    if (error == std::errc() && value != 0 && value <= (1u << 16)) result.push_back(value);
    at = stop == at ? at + 1 : stop;
  }
  return result;
}

Modelled of(const Setting& s, const Layer& layer) {
  const sim::MacType type = mac_type(s.row.dtype);
  if (type == sim::MacType::int4)
    throw Inexpressible{"convolutions and pools are modelled for operands of 8 bits and more"};
  const std::vector<sim::TaskWork> tasks = layer_tasks(layer, type, s.c);
  return from_job(sim::estimate_job(tasks, s.dispatch, s.c, s.clock));
}

Modelled pool(const Setting& s, const std::vector<std::uint32_t>& n) {
  const std::string& text = s.row.conditions;
  Modelled r;
  if (n.size() >= 3) {
    const std::uint32_t kernel = n.size() > 3 ? n[3] : number_after(text, "kernel").value_or(2);
    const std::uint32_t stride = number_after(text, "stride").value_or(kernel);
    if (n[0] > 8192 || kernel > 16)
      throw Inexpressible{"the PPU takes planes of at most 8192 and windows of at most 16"};
    r = of(s, {n[0], n[2], n[2], kernel, stride, LayerKind::pool, Activation::none, false, 0});
  } else if (s.vendor) {
    throw Inexpressible{"the shape of a pool is not HxWxC"};
  }
  // A pool raises no interrupt that the mainline driver arms: its timeout retires the job
  // [/work notes control-and-uapi, HW].
  if (!s.vendor && !has(text, "PPU")) {
    r.dispatch += s.c.driver_timeout_ms * 1e-3;
    r.seconds += s.c.driver_timeout_ms * 1e-3;
  }
  return r;
}

}  // namespace

Modelled predict_operator(Setting& s) {
  const std::string& op = s.row.op;
  const std::vector<std::uint32_t> n = numbers(s.row.shape);
  Modelled r;
  if (op == "pool" || op == "maxpool" || op == "avgpool") {
    r = pool(s, n);
  } else if (op == "conv" || op == "depthwise") {
    const bool depthwise = op == "depthwise" || has(s.row.conditions, "depthwise");
    if (n.size() < (depthwise ? 3u : 4u))
      throw Inexpressible{
          "the shape of a convolution is not HxWxCxK with the kernel's size behind it"};
    const std::size_t behind = depthwise && n.size() < 6 ? 3 : 4;
    const std::uint32_t kernel = n.size() > behind ? n[behind] : (depthwise ? 3 : 1);
    if (n[0] > 4096 || kernel > 31)
      throw Inexpressible{"the NPU takes planes of at most 4096 and kernels of at most 31"};
    const std::uint32_t stride = number_after(s.row.conditions, "stride").value_or(1);
    r = of(s, {n[0], n[2], depthwise ? n[2] : n[3], kernel, stride,
               depthwise ? LayerKind::depthwise : LayerKind::conv, Activation::clip, false, 0});
  } else {
    if (n.empty() || n.size() > 4) throw Inexpressible{"the shape is not one of 1 to 4 sizes"};
    double elements = 1;
    for (const std::uint32_t size : n) elements *= size;
    if (elements > 1e12) throw Inexpressible{"the operands are larger than the memory"};
    const double bytes = elements * sim::bits_of(mac_type(s.row.dtype)) / 8;
    sim::TaskWork w;
    w.type = mac_type(s.row.dtype);
    w.regcmd_words = 60;
    w.output_elements = static_cast<std::uint64_t>(elements);
    w.operand_bytes = static_cast<std::uint64_t>(2 * bytes);
    w.output_bytes = static_cast<std::uint64_t>(bytes);
    w.table = op == "lut" || op == "activation";
    r = from_job(sim::estimate_job({&w, 1}, s.dispatch, s.c, s.clock));
  }
  r.mac_share = r.seconds > 0 ? r.mac / r.seconds : 0;
  return r;
}

}  // namespace npu::probe
