// SPDX-License-Identifier: MIT
#include "npu-sim/chip.hpp"

#include <deque>
#include <string>

#include "npu-sim/core.hpp"
#include "regdb/error.hpp"

namespace npu::sim {

struct Chip::Impl {
  explicit Impl(ChipOptions chip_options) : options(chip_options), pool(options.threads) {
    if (options.cores < 1 || options.cores > 3)
      throw Error(ErrorCode::invalid_argument,
                  "an RK3588 NPU has 1 to 3 cores, not " + std::to_string(options.cores));
    for (unsigned i = 0; i < options.cores; ++i) cores.emplace_back(i, options, pool);
  }
  Core& core(unsigned index) {
    if (index >= cores.size())
      throw Error(ErrorCode::invalid_argument, "there is no NPU core " + std::to_string(index));
    return cores[index];
  }

  ChipOptions options;
  ThreadPool pool;
  std::deque<Core> cores;
};

Chip::Chip(ChipOptions options) : impl_(std::make_unique<Impl>(options)) {}
Chip::~Chip() = default;

unsigned Chip::cores() const { return static_cast<unsigned>(impl_->cores.size()); }
void Chip::attach(unsigned core, std::shared_ptr<const AddressSpace> space) {
  impl_->core(core).attach(std::move(space));
}
std::uint32_t Chip::read(unsigned core, std::uint32_t offset) {
  return impl_->core(core).read(offset);
}
void Chip::write(unsigned core, std::uint32_t offset, std::uint32_t value) {
  impl_->core(core).write(offset, value);
}
bool Chip::irq(unsigned core) const { return impl_->core(core).irq(); }
void Chip::reset(unsigned core) { impl_->core(core).reset(); }
const std::optional<Fault>& Chip::fault(unsigned core) const { return impl_->core(core).fault(); }

void Chip::inject(std::span<const Injection> more) {
  for (Core& core : impl_->cores)
    if (!core.inject(more))
      throw Error(ErrorCode::invalid_argument,
                  "more than " + std::to_string(Injector::kMaxWaiting) +
                      " injected faults wait to strike: run some jobs first");
}

}  // namespace npu::sim
