// SPDX-License-Identifier: MIT
#include "microkernels/concat.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "microkernels/activation.hpp"
#include "microkernels/conv2d_pack.hpp"
#include "microkernels/layout.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ErrorCode::invalid_argument, "sequence of convolutions: " + why);
}

// Buffers of a layer besides its tensors, in this order behind those of the tensors.
constexpr Conv2dSlot kOwn[] = {kConvWeights, kConvBias, kConvBetween, kConvGate};

}  // namespace

ConvSequence::ConvSequence(device::Device& device, DataType type) : device_(&device), type_(type) {
  if (type != DataType::i8 && type != DataType::f16)
    refuse(fmt::format("{} does not become {}: use i8 or f16", to_string(type), to_string(type)));
}

ConvSequence::Tensor ConvSequence::add_tensor(std::uint32_t height, std::uint32_t width,
                                              std::uint32_t channels) {
  if (height == 0 || width == 0 || channels == 0 || height > 2047 || width > 2047 ||
      channels > 65536)
    refuse(fmt::format("a tensor of {}x{}x{}: use 1 to 2047 rows and columns, 1 to 65536 channels",
                       height, width, channels));
  // Readers take whole blocks, depthwise ones of 64 bytes of channels.
  tensors_.push_back({height, width, channels, tensors_.empty() ? channels : 0,
                      align_up(ceil_div(channels, atom_elements(type_)), 4u)});
  return static_cast<Tensor>(tensors_.size() - 1);
}

const ConvSequence::Shared& ConvSequence::tensor(Tensor index, const char* what) const {
  if (index >= tensors_.size())
    refuse(fmt::format("{} is tensor {}, but there are {}", what, index, tensors_.size()));
  return tensors_[index];
}

void ConvSequence::add_layer(const Layer& layer, ConstElements weights, ConstElements bias) {
  if (executor_) refuse("it has run already: make another for more layers");
  const Conv2dShape& s = layer.shape;
  const Shared& from = tensor(layer.from, "the input");
  const Shared& to = tensor(layer.to, "the output");
  if (layer.to == 0 || layer.to == layer.from)
    refuse("a layer writes a tensor other than the first one and its own input");
  if (from.written != from.channels)
    refuse(fmt::format("{} of {} channels of the input are written so far", from.written,
                       from.channels));
  if (s.in_height != from.height || s.in_width != from.width || s.in_channels != from.channels)
    refuse(fmt::format("the layer takes {}x{}x{}, its tensor is {}x{}x{}", s.in_height, s.in_width,
                       s.in_channels, from.height, from.width, from.channels));
  Step step{.layer = layer,
            .plan = plan_conv2d(s, {type_, type_}, 1, {layer.activation, layer.addend.has_value()}),
            .weights = {},
            .bias = {}};
  const std::uint32_t lanes = atom_elements(type_), first = layer.first_channel;
  if (s.out_height() != to.height || s.out_width() != to.width || first > to.channels ||
      s.out_channels > to.channels - first)
    refuse(fmt::format("the layer makes {}x{}x{} from channel {} on, its tensor is {}x{}x{}",
                       s.out_height(), s.out_width(), s.out_channels, first, to.height, to.width,
                       to.channels));
  if (first != to.written || first % lanes != 0)
    refuse(
        fmt::format("a part from channel {} on, where {} are written: parts follow one another, "
                    "and begin at multiples of {} channels: concatenate others on the host",
                    first, to.written, lanes));
  if (layer.addend) {
    const Shared& addend = tensor(*layer.addend, "the addend");
    if (addend.height != to.height || addend.width != to.width ||
        addend.channels != s.out_channels || addend.written != addend.channels ||
        *layer.addend == layer.to)
      refuse("the addend is another tensor, of the layer's output size, and written before it");
  }
  const bool floats = type_ == DataType::f16;
  const std::uint64_t count = std::uint64_t{s.kernel_height} * s.kernel_width * s.in_channels *
                              (s.depthwise ? 1 : s.out_channels);
  if (weights.size() != count || weights.element_bytes() != host_bytes(type_) ||
      (!bias.empty() && (bias.size() != s.out_channels || bias.element_bytes() != 4)) ||
      (floats && layer.input_zero != 0))
    refuse(
        fmt::format("{} weights of {} bytes and {} biases; {} and {} (of 4 bytes, or none) are "
                    "needed, and no zero point for floats",
                    weights.size(), weights.element_bytes(), bias.size(), count, s.out_channels));
  const std::vector<std::int16_t>& multipliers = layer.post.channels.multipliers;
  if (!multipliers.empty() && (floats || multipliers.size() != s.out_channels))
    refuse("a multiplier for each channel, i8 only");
  if (layer.activation && layer.post.relu) refuse("a function and a ReLU: choose one");

  std::vector<std::int32_t> sums(s.out_channels, 0);
  if (!bias.empty()) std::memcpy(sums.data(), bias.data(), sums.size() * 4);
  if (!floats)
    fold_input_zero(s, reinterpret_cast<const std::int8_t*>(weights.data()), layer.input_zero,
                    sums);
  step.layer.post.bias = floats && !bias.empty();
  const Conv2dCore& core = step.plan.cores[0];
  step.weights.resize(core.weight_bytes);
  step.bias.resize(core.bias_bytes);
  pack_conv2d_weights(step.plan, 0, weights.data(), step.weights);
  pack_conv2d_bias(step.plan, 0, sums, multipliers, step.bias);
  tensors_[layer.to].written = first + s.out_channels;
  tensors_[layer.to].planes = std::max(to.planes, (first + step.plan.out_channels) / lanes);
  tensors_[layer.from].planes = std::max(from.planes, step.plan.channels / lanes);
  if (layer.addend)
    tensors_[*layer.addend].planes =
        std::max(tensors_[*layer.addend].planes, step.plan.out_channels / lanes);
  steps_.push_back(std::move(step));
}

void ConvSequence::upload() {
  using enum Slot::Role;
  std::vector<Slot> slots;
  const auto plane_bytes = [](const Shared& t) {
    return std::uint64_t{t.height} * t.width * kAtomBytes;
  };
  for (std::size_t i = 0; i < tensors_.size(); ++i)
    slots.push_back({fmt::format("tensor{}", i), plane_bytes(tensors_[i]) * tensors_[i].planes,
                     i == 0 ? input : output});
  for (const Step& step : steps_) {
    const Conv2dCore& core = step.plan.cores[0];
    const std::uint64_t bytes[] = {core.weight_bytes, core.bias_bytes, core.between_bytes,
                                   core.gate_bytes};
    for (std::size_t i = 0; i < std::size(kOwn); ++i)
      slots.push_back({conv2d_slot_names()[kOwn[i]], bytes[i],
                       bytes[i] == 0 ? unused
                       : i < 2       ? input
                                     : scratch});
  }
  std::vector<std::string> names;
  for (const Slot& slot : slots) names.push_back(slot.name);
  device::Device* const devices[] = {device_};
  executor_.emplace(devices, std::vector<std::vector<Slot>>{slots});

  std::vector<Stage> stages;
  std::uint64_t macs = 0, bytes = 0;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    const auto own = static_cast<std::uint32_t>(tensors_.size() + i * std::size(kOwn));
    Conv2dPlacement place;
    place.slot[kConvIn] = step.layer.from;
    place.slot[kConvOut] = step.layer.to;
    place.slot[kConvAddend] = step.layer.addend.value_or(0);
    for (std::uint32_t k = 0; k < std::size(kOwn); ++k) place.slot[kOwn[k]] = own + k;
    place.offset[kConvOut] =
        step.layer.first_channel / atom_elements(type_) * plane_bytes(tensors_[step.layer.to]);
    // Kernels that stay in CBUF stay for a job: a layer is not cut.
    Stage layer{.program = {.slots = names}, .tasks = {}};
    append_conv2d(layer, step.plan, 0, step.layer.input_zero, step.layer.post, place);
    std::uint64_t more_macs = 0, more_bytes = 0;
    for (const TaskInfo& task : layer.tasks) more_macs += task.macs, more_bytes += task.bytes;
    macs += more_macs, bytes += more_bytes;
    if (stages.empty() || macs > kMaxJobMacs || bytes > kMaxJobBytes) {
      stages.push_back(std::move(layer));
      macs = more_macs, bytes = more_bytes;
    } else {
      append_conv2d(stages.back(), step.plan, 0, step.layer.input_zero, step.layer.post, place);
    }
    std::ranges::copy(step.weights, executor_->host(0, own).begin());
    executor_->written(0, own);
    std::ranges::copy(step.bias, executor_->host(0, own + 1).begin());
    executor_->written(0, own + 1);
  }
  executor_->set_programs({stages});
}

void ConvSequence::run(ConstElements in, Tensor result, Elements out, RunStats* stats) {
  const Shared& first = tensor(0, "the input");
  const Shared& last = tensor(result, "the result");
  if (steps_.empty() || result == 0) refuse("the result is a tensor that layers write: add them");
  if (last.written != last.channels)
    refuse(fmt::format("{} of {} channels of the result are written", last.written, last.channels));
  const std::size_t element = host_bytes(type_);
  const auto check = [&](const char* what, const Shared& t, std::size_t count, std::size_t size) {
    const std::size_t want = std::size_t{t.height} * t.width * t.channels;
    if (count != want || size != element)
      refuse(fmt::format("the {} has {} elements of {} bytes; {} of {} are needed", what, count,
                         size, want, element));
  };
  check("input", first, in.size(), in.element_bytes());
  check("result", last, out.size(), out.element_bytes());
  if (!executor_) upload();
  const std::size_t rows = std::size_t{first.height} * first.width;
  pack_features(type_, {in.data(), rows, first.channels, first.channels}, rows,
                first.planes * atom_elements(type_), executor_->host(0, 0));
  executor_->written(0, 0);
  RunStats run;
  for (std::size_t stage = 0; stage < executor_->stages(); ++stage) executor_->run(stage, run);
  const std::size_t positions = std::size_t{last.height} * last.width;
  unpack(type_, executor_->host(0, result), positions,
         {out.data(), positions, last.channels, last.channels});
  if (stats != nullptr) *stats = run;
}

double ConvSequence::seconds() const {
  double sum = 0;
  for (const Step& step : steps_) sum += step.plan.seconds;
  return sum;
}

}  // namespace npu::kernels
