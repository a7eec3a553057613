// SPDX-License-Identifier: MIT
#include <algorithm>

#include "npu-probe/timing_setting.hpp"

namespace npu::probe {
namespace {

// The vendor's compiler puts the whole network into one submit. Several cores share the rows of
// each layer and wait for each other behind it; each loads all weights of the layer.
void vendor_network(Setting& s, const std::vector<Layer>& layers, sim::MacType type, Modelled& r) {
  const std::string& text = s.row.conditions;
  const unsigned cores = std::max(1u, s.row.cores);
  const bool streams = has(text, "core each") || has(text, "pinned");
  s.clock.active_cores = cores;
  const unsigned sharing = streams ? 1 : cores;
  std::vector<sim::TaskWork> all;
  for (const Layer& layer : layers) {
    const std::vector<sim::TaskWork> tasks = layer_tasks(layer, type, s.c, sharing);
    all.insert(all.end(), tasks.begin(), tasks.end());
  }
  r = from_job(sim::estimate_job(all, s.dispatch, s.c, s.clock));
  if (sharing > 1) r.dispatch += static_cast<double>(layers.size()) * s.c.vendor_share_us * 1e-6;
  r.host = s.c.vendor_invoke_ms * 1e-3;
  if (streams) r.streams = cores;
}

// The open drivers run the convolutions one after the other, each as a job of its own on one
// core; what else is in the network runs on the CPU.
void open_network(Setting& s, const std::vector<Layer>& layers, sim::MacType type, Modelled& r) {
  double on_cpu = 0;  // elements
  for (const Layer& layer : layers) {
    if (layer.kind == LayerKind::pool || layer.kind == LayerKind::upsample) {
      const double written =
          layer.kind == LayerKind::pool
              ? static_cast<double>(layer.kernel) * layer.kernel / layer.stride / layer.stride
              : 4;
      on_cpu += written * layer.size * layer.size * layer.in;
      continue;
    }
    const std::vector<sim::TaskWork> tasks = layer_tasks(layer, type, s.c);
    const sim::JobTime job = sim::estimate_job(tasks, s.dispatch, s.c, s.clock);
    r.device += job.device;
    r.dispatch += job.dispatch();
    r.mac += job.mac;
    r.bytes += job.bytes;
    r.macs += job.macs;
    r.tasks += job.tasks;
    ++r.jobs;
  }
  const Layer& first = layers.front();
  on_cpu += static_cast<double>(first.size) * first.size * first.in;
  r.host = s.c.mesa_invoke_ms * 1e-3 + on_cpu * s.c.mesa_element_ns * 1e-9;
}

}  // namespace

Modelled predict_network(Setting& s) {
  const std::string& text = s.row.conditions;
  if (has(text, "tflite-rocket") || has(s.row.source, "rockchip-npu-notes"))
    throw Inexpressible{
        "this delegate's work on the host binds it (packing of cubes), which is not modelled"};
  if (has(text, "wrong output") || has(text, "timeout"))
    throw Inexpressible{"jobs of this run ended by the driver's timeout"};
  // "yolov5s" of RKNN's own examples is the variant with ReLU; the model zoo's table has both
  // [widgetii optimization_report gives the same 16.7 ms as YOLOv5s-relu].
  std::string name = s.row.shape;
  if (s.vendor && has(name, "yolov5s") && !has(s.row.source, "model_zoo") && !has(text, "SiLU"))
    name += " relu";
  const auto layers = network_layers(name);
  if (!layers)
    throw Inexpressible{
        "unknown network: its layers are not in npu-probe/timing_networks.cpp or "
        "timing_detectors.cpp"};
  const sim::MacType type = mac_type(s.row.dtype);
  const bool vendor = s.vendor && !has(text, "librocketnpu") && !has(text, "open driver");
  if (type != sim::MacType::int8 && (type != sim::MacType::fp16 || !vendor))
    throw Inexpressible{"networks are modelled in int8, and in fp16 on the vendor's stack"};
  Modelled r;
  if (vendor)
    vendor_network(s, *layers, type, r);
  else
    open_network(s, *layers, type, r);
  r.seconds = r.device + r.dispatch + r.host;
  r.mac_share = r.mac / r.seconds;
  return r;
}

}  // namespace npu::probe
