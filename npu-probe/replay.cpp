// SPDX-License-Identifier: MIT
// Layouts: tests/vectors/mesa/README.md and compute.md 3.2.
#include "npu-probe/replay.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "npu-probe/relocation.hpp"
#include "regdb/error.hpp"
#include "regdb/registers.hpp"
#include "regdb/tables.hpp"

namespace npu::probe {
namespace {

namespace rd = npu::regdb;

constexpr std::uint64_t kAtom = 16;
constexpr std::byte kSentinel{0xA5};
constexpr std::chrono::minutes kWait{10};

[[noreturn]] void bad_case(const std::string& what) { throw Error(ErrorCode::bad_file, what); }

std::string sha256(std::span<const std::byte> bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_sha256(), nullptr) != 1)
    throw Error(ErrorCode::not_supported, "libcrypto has no SHA-256");
  std::string hex;
  for (unsigned i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

// NHWC of one image as rows * columns positions of `channels` elements.
struct Geometry {
  std::size_t positions = 1, columns = 1, channels = 1;
};
Geometry geometry(const Tensor& t) {
  Geometry g;
  if (t.dims.empty()) return g;
  g.channels = t.dims.back();
  for (std::size_t i = 0; i + 1 < t.dims.size(); ++i) g.positions *= t.dims[i];
  if (t.dims.size() >= 2) g.columns = t.dims[t.dims.size() - 2];
  return g;
}

std::uint8_t flip(const Tensor& t) { return t.type == TensorType::uint8 ? 0x80 : 0; }

// NHWC bytes -> [C/16][H][W][16]; channels beyond C hold the zero point.
void pack(const Tensor& t, std::span<const std::byte> nhwc, std::size_t plane_bytes,
          std::span<std::byte> out) {
  const Geometry g = geometry(t);
  const std::size_t groups = (g.channels + kAtom - 1) / kAtom;
  if ((groups - 1) * plane_bytes + g.positions * kAtom > out.size())
    bad_case(fmt::format("tensor {} does not fit its buffer of {} bytes", t.id, out.size()));
  const auto zero = static_cast<std::byte>(
      static_cast<std::uint8_t>(t.zero_points.empty() ? 0 : t.zero_points[0]) ^ flip(t));
  for (std::size_t group = 0; group < groups; ++group) {
    std::byte* to = out.data() + group * plane_bytes;
    for (std::size_t p = 0; p < g.positions; ++p)
      for (std::size_t lane = 0; lane < kAtom; ++lane, ++to) {
        const std::size_t channel = group * kAtom + lane;
        *to = channel < g.channels
                  ? nhwc[p * g.channels + channel] ^ static_cast<std::byte>(flip(t))
                  : zero;
      }
  }
}

// One channel: raw rows of max(W, 16) bytes.
void pack_pixels(const Tensor& t, std::span<const std::byte> nhwc, std::span<std::byte> out) {
  const Geometry g = geometry(t);
  const std::size_t pitch = std::max<std::size_t>(g.columns, kAtom);
  const std::size_t rows = g.positions / std::max<std::size_t>(g.columns, 1);
  if (rows * pitch > out.size())
    bad_case(fmt::format("tensor {} does not fit its buffer of {} bytes", t.id, out.size()));
  for (std::size_t y = 0; y < rows; ++y)
    std::memcpy(out.data() + y * pitch, nhwc.data() + y * g.columns, g.columns);
}

// [C/16][H][W][16] -> the stored bytes as HWC.
std::vector<std::byte> unpack(const Tensor& t, std::size_t plane_bytes,
                              std::span<const std::byte> in) {
  const Geometry g = geometry(t);
  const std::size_t groups = (g.channels + kAtom - 1) / kAtom;
  if ((groups - 1) * plane_bytes + g.positions * kAtom > in.size())
    bad_case(fmt::format("tensor {} does not fit its buffer of {} bytes", t.id, in.size()));
  std::vector<std::byte> out(g.positions * g.channels);
  for (std::size_t p = 0; p < g.positions; ++p)
    for (std::size_t channel = 0; channel < g.channels; ++channel)
      out[p * g.channels + channel] =
          in[channel / kAtom * plane_bytes + p * kAtom + channel % kAtom];
  return out;
}

const std::vector<std::byte>& reference(const Case& c, int tensor) {
  const auto it = c.references.find(tensor);
  if (it == c.references.end())
    bad_case(fmt::format("there is no reference data for tensor {}", tensor));
  return it->second;
}

std::string describe(const Case& c, int op_index) {
  for (const CaseOperator& op : c.ops) {
    if (op.index != op_index) continue;
    if (op.inputs.size() < 2 || op.outputs.empty()) return op.name;
    const bool depthwise = op.name == "DEPTHWISE_CONV_2D";
    if (!depthwise && op.name != "CONV_2D") return op.name;
    const Tensor& weights = c.tensor(op.inputs[1]);
    if (weights.dims.size() != 4) return op.name;
    const Geometry in = geometry(c.tensor(op.inputs[0])), out = geometry(c.tensor(op.outputs[0]));
    return fmt::format("{} {}x{} s{} {}->{}", depthwise ? "dwconv" : "conv", weights.dims[1],
                       weights.dims[2], op.stride, in.channels, out.channels);
  }
  return fmt::format("operator {}", op_index);
}

// A submit's buffers on a device, its programs relocated.
class Session {
 public:
  Session(const device::Device& pattern, const Case& c, const CaseSubmit& submit)
      : case_(c), submit_(submit), device_(pattern.open_another()) {
    for (const CaseBo& bo : submit.bos) by_iova_.emplace(bo.iova, &bo);
    for (const CaseBo& bo : submit.bos) {
      device::Buffer buffer = device_->create_buffer(bo.size);
      std::copy(bo.bytes.begin(), bo.bytes.end(), buffer.host().begin());
      addresses_.add(bo.iova, bo.size, buffer.iova());
      buffers_.emplace(bo.handle, std::move(buffer));
    }
    for (const CaseJob& job : submit.jobs)
      for (const CaseTask& task : job.tasks) write_program(task);
    for (const CaseBo& bo : submit.bos) {
      if (bo.role == "input" && !bo.recorded) fill_input(bo);
      device_->fini(buffer(bo.handle));
    }
  }

  const device::Buffer& buffer(std::uint32_t handle) const { return buffers_.at(handle); }

  // The reference's input into the buffers that a job reads.
  void load_inputs(const CaseJob& job) {
    for (std::size_t i = 0; i < job.in.size(); ++i) {
      const CaseBo& bo = *submit_.find(job.in[i]);
      // What the driver itself wrote stays as it is.
      if (bo.recorded || !bo.tensor) continue;
      const Tensor& t = case_.tensor(*bo.tensor);
      pack(t, reference(case_, t.id), geometry(t).positions * kAtom, buffer(bo.handle).host());
      device_->fini(buffer(bo.handle));
    }
  }

  void poison(const CaseJob& job) {
    for (const std::uint32_t handle : job.out) {
      const auto host = buffer(handle).host();
      std::fill(host.begin(), host.end(), kSentinel);
      device_->fini(buffer(handle));
    }
  }

  void submit(std::span<const CaseJob> jobs) {
    std::vector<device::Job> out;
    for (const CaseJob& job : jobs) {
      device::Job j;
      for (const CaseTask& task : job.tasks)
        j.tasks.push_back({addresses_.to_device(task.regcmd), task.count});
      // The kernel silently drops a job that names a buffer twice, as some recorded jobs do.
      for (const std::uint32_t handle : job.out) add_once(j.out_handles, buffer(handle).handle());
      for (const std::uint32_t handle : job.in) {
        const std::uint32_t h = buffer(handle).handle();
        if (std::find(j.out_handles.begin(), j.out_handles.end(), h) == j.out_handles.end())
          add_once(j.in_handles, h);
      }
      out.push_back(std::move(j));
    }
    device_->submit(out);
  }

  // Bytes of the tensor that `job` wrote, HWC as stored.
  std::vector<std::byte> result(const CaseJob& job, const Tensor& tensor) {
    const device::Buffer& out = buffer(job.out[0]);
    device_->prep(out, kWait);
    return unpack(tensor, plane_bytes(job, tensor), out.host());
  }

 private:
  static void add_once(std::vector<std::uint32_t>& list, std::uint32_t handle) {
    if (std::find(list.begin(), list.end(), handle) == list.end()) list.push_back(handle);
  }

  // The last buffer that starts at `iova` or below; buffers do not overlap (parse_case).
  const CaseBo* last_from(std::uint32_t iova) const {
    const auto after = by_iova_.upper_bound(iova);
    return after == by_iova_.begin() ? nullptr : std::prev(after)->second;
  }

  void write_program(const CaseTask& task) {
    const CaseBo* home = last_from(task.regcmd);
    if (home == nullptr || std::uint64_t{task.regcmd} + std::uint64_t{task.count} * 8 >
                               std::uint64_t{home->iova} + home->size)
      bad_case(fmt::format("the program at {:#x} with {} words lies in no buffer", task.regcmd,
                           task.count));
    std::byte* out = buffer(home->handle).host().data() + (task.regcmd - home->iova);
    std::vector<std::uint64_t> words(case_.regcmd.begin() + task.first_word,
                                     case_.regcmd.begin() + task.first_word + task.count);
    std::uint32_t dma_base = 0;  // the driver writes it before each start
    relocate_program(words, addresses_, dma_base);
    std::memcpy(out, words.data(), words.size() * 8);
  }

  // A tensor that CPU operators made between two submits.
  void fill_input(const CaseBo& bo) {
    if (!bo.tensor) return;
    const Tensor& t = case_.tensor(*bo.tensor);
    if (geometry(t).channels == 1 && read_as_pixels(bo))
      pack_pixels(t, reference(case_, t.id), buffer(bo.handle).host());
    else
      pack(t, reference(case_, t.id), geometry(t).positions * kAtom, buffer(bo.handle).host());
  }

  // The last value that the job's last task writes into a register.
  std::optional<std::uint32_t> written(const CaseJob& job, rd::Target target,
                                       std::uint16_t offset) const {
    std::optional<std::uint32_t> value;
    const CaseTask& task = job.tasks.back();
    for (std::uint32_t i = 0; i < task.count; ++i) {
      const rd::Regcmd c = rd::Regcmd::unpack(case_.regcmd[task.first_word + i]);
      if (c.target == static_cast<std::uint16_t>(target) && c.offset == offset) value = c.value;
    }
    return value;
  }

  bool read_as_pixels(const CaseBo& bo) const {
    for (const CaseJob& job : submit_.jobs)
      if (!job.in.empty() && job.in[0] == bo.handle) {
        const auto con1 = written(job, rd::Target::cna, rd::cna::CONV_CON1::offset);
        return con1 && rd::cna::CONV_CON1::decode(*con1).argb_in != 0;
      }
    return false;
  }

  std::size_t plane_bytes(const CaseJob& job, const Tensor& tensor) const {
    const auto stride = written(job, rd::Target::dpu, rd::dpu::DST_SURF_STRIDE::offset);
    return stride ? *stride & ~0xFu : geometry(tensor).positions * kAtom;
  }

  const Case& case_;
  const CaseSubmit& submit_;
  std::map<std::uint32_t, const CaseBo*> by_iova_;
  IovaMap addresses_;
  std::unique_ptr<device::Device> device_;
  std::map<std::uint32_t, device::Buffer> buffers_;
};

OperatorResult compare(const Case& c, const CaseJob& job, const Tensor& tensor,
                       std::vector<std::byte> got) {
  OperatorResult r;
  r.op = job.op;
  r.tensor = tensor.id;
  r.what = describe(c, job.op);
  if (job.in.size() > 1) r.what += " + add";
  const auto& want = reference(c, tensor.id);
  r.sha256 = sha256(got);
  for (const CaseCheck& check : c.checks)
    if (check.tensor == tensor.id) r.executor_equal = check.executor_sha256 == r.sha256;
  r.elements = want.size();
  const auto number = [&](std::byte b) {
    const auto u = static_cast<std::uint8_t>(b);
    return tensor.type == TensorType::uint8 ? int{u} : int{static_cast<std::int8_t>(u)};
  };
  for (std::size_t i = 0; i < want.size(); ++i) {
    const int diff =
        std::abs(number(got[i] ^ static_cast<std::byte>(flip(tensor))) - number(want[i]));
    r.equal += diff == 0;
    r.max_abs_diff = std::max(r.max_abs_diff, static_cast<std::uint32_t>(diff));
  }
  return r;
}

const Tensor& output_tensor(const Case& c, const CaseSubmit& submit, const CaseJob& job) {
  const CaseBo& bo = *submit.find(job.out[0]);
  if (!bo.tensor) bad_case(fmt::format("buffer {} is written but holds no tensor", bo.handle));
  const Tensor& tensor = c.tensor(*bo.tensor);
  if (tensor.elements() == 0) bad_case(fmt::format("tensor {} is empty", tensor.id));
  return tensor;
}

}  // namespace

std::uint64_t CaseResult::elements() const {
  std::uint64_t n = 0;
  for (const auto& op : operators) n += op.elements;
  return n;
}
double CaseResult::equal_share() const {
  std::uint64_t equal = 0;
  for (const auto& op : operators) equal += op.equal;
  return elements() == 0 ? 0 : static_cast<double>(equal) / static_cast<double>(elements());
}
std::uint32_t CaseResult::max_abs_diff() const {
  std::uint32_t most = 0;
  for (const auto& op : operators) most = std::max(most, op.max_abs_diff);
  return most;
}
bool CaseResult::executor_equal() const {
  return std::all_of(operators.begin(), operators.end(),
                     [](const OperatorResult& op) { return op.executor_equal; });
}

CaseResult replay_case(const device::Device& device, const Case& c, bool chained) {
  CaseResult result;
  result.name = c.name;
  result.agrees_with_cpu = c.agrees_with_cpu;
  for (const CaseSubmit& submit : c.submits) {
    Session session(device, c, submit);
    const std::span<const CaseJob> jobs = submit.jobs;
    if (chained) {
      for (const CaseJob& job : jobs) session.poison(job);
      session.submit(jobs);
    }
    // Jobs of one operator follow each other.
    for (std::size_t first = 0; first < jobs.size();) {
      std::size_t last = first + 1;
      while (last < jobs.size() && jobs[last].op == jobs[first].op) ++last;
      const auto group = jobs.subspan(first, last - first);
      if (!chained) {
        for (const CaseJob& job : group) session.load_inputs(job);
        for (const CaseJob& job : group) session.poison(job);
        session.submit(group);
      }
      const Tensor& tensor = output_tensor(c, submit, group.front());
      result.operators.push_back(
          compare(c, group.front(), tensor, session.result(group.back(), tensor)));
      first = last;
    }
  }
  return result;
}

}  // namespace npu::probe
