// SPDX-License-Identifier: MIT
#include "npu-probe/case.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "npu-probe/files.hpp"
#include "regdb/error.hpp"
#include "regdb/regcmd.hpp"

namespace npu::probe {
namespace {

using nlohmann::json;

// Bounds far above any network, so that a small hostile file costs neither memory nor hours.
constexpr std::size_t kMaxJsonBytes = 16u << 20;
constexpr std::size_t kMaxJsonDepth = 32;
constexpr std::size_t kMaxItems = 1u << 16;          // of any list
constexpr std::size_t kMaxSearched = 1u << 13;       // of lists that are searched one by one
constexpr std::size_t kMaxHandles = 1u << 10;        // of one job
constexpr std::size_t kMaxRegcmdBytes = 64u << 20;   // also of all tasks together
constexpr std::size_t kMaxFileBytes = 512u << 20;    // all files of a case, unpacked
constexpr std::uint64_t kMaxMoved = 16ull << 30;     // buffers and tensors of all jobs
constexpr std::uint64_t kMaxTensor = 256u << 20;     // elements
constexpr std::uint64_t kMaxSubmitBytes = 1u << 30;  // all buffers of a submit
constexpr std::uint64_t kPage = 4096;

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorCode::bad_file, "case.json: " + what);
}

// A JSON value and where it stands, so that every complaint can say it.
class Node {
 public:
  Node(const json& value, std::string path) : value_(value), path_(std::move(path)) {}

  Node operator[](const char* key) const {
    if (!value_.is_object()) fail(path_ + " is not an object");
    const auto it = value_.find(key);
    if (it == value_.end()) fail(fmt::format("{} has no member \"{}\"", path_, key));
    return {*it, path_ + "." + key};
  }
  bool has(const char* key) const { return value_.is_object() && value_.contains(key); }

  std::int64_t integer(std::int64_t low, std::int64_t high) const {
    if (!value_.is_number_integer()) fail(path_ + " is not an integer");
    if (value_.is_number_unsigned() && value_.get<std::uint64_t>() > INT64_MAX)
      fail(path_ + " is out of range");
    const auto n = value_.get<std::int64_t>();
    if (n < low || n > high) fail(fmt::format("{} = {} is outside {}..{}", path_, n, low, high));
    return n;
  }
  std::uint32_t u32(std::int64_t low = 0, std::int64_t high = 0xFFFFFFFF) const {
    return static_cast<std::uint32_t>(integer(low, high));
  }
  int id() const { return static_cast<int>(integer(-1, 1 << 20)); }
  std::string text() const {
    if (!value_.is_string()) fail(path_ + " is not a string");
    return value_.get<std::string>();
  }
  bool boolean() const {
    if (!value_.is_boolean()) fail(path_ + " is not true or false");
    return value_.get<bool>();
  }
  template <class F>
  void each(F visit, std::size_t limit = kMaxItems) const {
    if (!value_.is_array()) fail(path_ + " is not an array");
    if (value_.size() > limit)
      fail(fmt::format("{} has {} elements, the limit is {}", path_, value_.size(), limit));
    for (std::size_t i = 0; i < value_.size(); ++i)
      visit(Node(value_[i], fmt::format("{}[{}]", path_, i)));
  }
  template <class F>
  void each_member(F visit) const {
    if (!value_.is_object()) fail(path_ + " is not an object");
    if (value_.size() > kMaxItems) fail(path_ + " has too many members");
    for (const auto& [key, value] : value_.items()) visit(key, Node(value, path_ + "." + key));
  }
  std::vector<int> ids() const {
    std::vector<int> out;
    each([&](const Node& n) { out.push_back(n.id()); });
    return out;
  }
  const std::string& path() const { return path_; }

 private:
  const json& value_;
  std::string path_;
};

// A name inside the case's folder.
std::string file_name(const Node& node) {
  const std::string name = node.text();
  if (name.empty() || name.size() > 255 || name.find('/') != std::string::npos ||
      name.find('\0') != std::string::npos || name[0] == '.')
    fail(fmt::format("{} = \"{}\" is not a file name of this folder", node.path(), name));
  return name;
}

TensorType tensor_type(const Node& node) {
  const std::string name = node.text();
  if (name == "UINT8") return TensorType::uint8;
  if (name == "INT8") return TensorType::int8;
  if (name == "INT32") return TensorType::int32;
  fail(fmt::format("{} = \"{}\": only UINT8, INT8 and INT32 tensors are known", node.path(), name));
}

void read_model(const Node& model, Case& c) {
  model["tensors"].each(
      [&](const Node& n) {
        Tensor t;
        t.id = n["id"].id();
        t.type = tensor_type(n["type"]);
        std::uint64_t elements = 1;
        n["dims"].each([&](const Node& d) {
          t.dims.push_back(d.u32(0, 1 << 24));
          elements *= t.dims.back();
          if (t.dims.size() > 8 || elements > kMaxTensor) fail(n.path() + ".dims is too large");
        });
        if (n.has("zero_points"))
          n["zero_points"].each([&](const Node& z) {
            t.zero_points.push_back(static_cast<std::int32_t>(z.integer(INT32_MIN, INT32_MAX)));
          });
        for (const Tensor& other : c.tensors)
          if (other.id == t.id) fail(fmt::format("{}.id = {} stands twice", n.path(), t.id));
        c.tensors.push_back(std::move(t));
      },
      kMaxSearched);
  model["ops"].each(
      [&](const Node& n) {
        CaseOperator op;
        op.index = n["index"].id();
        op.name = n["op"].text();
        op.inputs = n["inputs"].ids();
        op.outputs = n["outputs"].ids();
        if (n.has("stride")) {
          bool first = true;
          n["stride"].each([&](const Node& s) {
            const std::uint32_t stride = s.u32(0, 4096);
            if (first) op.stride = stride;
            first = false;
          });
        }
        c.ops.push_back(std::move(op));
      },
      kMaxSearched);
}

// The reference of a tensor: one byte an element.
void read_reference(const std::string& key, const Node& file, const FileReader& read, Case& c) {
  if (key.empty() || key.size() > 7 || key.find_first_not_of("0123456789") != std::string::npos)
    fail(fmt::format("{}: \"{}\" is no tensor id", file.path(), key));
  const int id = std::stoi(key);
  const Tensor& tensor = c.tensor(id);
  if (tensor.type == TensorType::int32) fail(file.path() + ": the tensor is not 8 bits wide");
  const std::string name = file_name(file);
  std::vector<std::byte> bytes = read(name, tensor.elements());
  if (bytes.size() != tensor.elements())
    throw Error(ErrorCode::bad_file, fmt::format("{}: {} bytes, but tensor {} has {} elements",
                                                 name, bytes.size(), id, tensor.elements()));
  c.references[id] = std::move(bytes);
}

void check_layout(const CaseSubmit& submit, const std::string& path) {
  std::vector<const CaseBo*> sorted;
  for (const CaseBo& bo : submit.bos) sorted.push_back(&bo);
  std::sort(sorted.begin(), sorted.end(),
            [](const CaseBo* a, const CaseBo* b) { return a->iova < b->iova; });
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    const std::uint64_t end =
        sorted[i]->iova + (std::uint64_t{sorted[i]->size} + kPage - 1) / kPage * kPage;
    const std::uint64_t limit =
        i + 1 < sorted.size() ? sorted[i + 1]->iova : std::uint64_t{1} << 32;
    if (end > limit)
      fail(fmt::format("{}: buffer {} at {:#x} overlaps the next one or the end of the window",
                       path, sorted[i]->handle, sorted[i]->iova));
  }
}

// What all submits of a case ask for together.
struct Work {
  std::uint64_t words = 0, moved = 0;
};

CaseSubmit read_submit(const Node& node, const FileReader& read, const Case& c, Work& work) {
  CaseSubmit submit;
  std::uint64_t total = 0;
  node["bos"].each(
      [&](const Node& n) {
        CaseBo bo;
        bo.handle = n["handle"].u32(1);
        bo.iova = n["iova"].u32();
        bo.size = n["size"].u32(1, kMaxSubmitBytes);
        bo.role = n["role"].text();
        if (bo.iova % kPage != 0) fail(n.path() + ".iova is not page aligned");
        if (!submit.by_handle.emplace(bo.handle, submit.bos.size()).second)
          fail(fmt::format("{}.handle = {} stands twice", n.path(), bo.handle));
        total += bo.size;
        if (total > kMaxSubmitBytes) fail(node.path() + ".bos: more than 1 GiB of buffers");
        if (n.has("tensor")) {
          bo.tensor = n["tensor"].id();
          (void)c.tensor(*bo.tensor);
        }
        if (n.has("file")) {
          bo.bytes = read(file_name(n["file"]), bo.size);
          bo.recorded = true;
        }
        submit.bos.push_back(std::move(bo));
      },
      kMaxSearched);
  check_layout(submit, node.path() + ".bos");
  const auto handle_list = [&](const Node& n) {
    std::vector<std::uint32_t> out;
    n.each(
        [&](const Node& h) {
          out.push_back(h.u32(1));
          const CaseBo* bo = submit.find(out.back());
          if (bo == nullptr) fail(fmt::format("{} = {} names no buffer", h.path(), out.back()));
          work.moved += bo->size;
          if (bo->tensor) work.moved += c.tensor(*bo->tensor).elements();
          if (work.moved > kMaxMoved)
            fail(h.path() + ": the jobs up to here move more than 16 GiB");
        },
        kMaxHandles);
    return out;
  };
  node["jobs"].each([&](const Node& n) {
    CaseJob job;
    job.op = n["op"].id();
    job.in = handle_list(n["in"]);
    job.out = handle_list(n["out"]);
    if (job.out.empty()) fail(n.path() + ".out is empty");
    n["tasks"].each([&](const Node& t) {
      const CaseTask task{t["regcmd"].u32(), t["regcmd_count"].u32(1, 1 << 17),
                          t["first_word"].u32()};
      if (std::uint64_t{task.first_word} + task.count > c.regcmd.size())
        fail(fmt::format("{}: words {}..{} are not in regcmd.bin, which holds {}", t.path(),
                         task.first_word, std::uint64_t{task.first_word} + task.count - 1,
                         c.regcmd.size()));
      work.words += task.count;
      if (work.words > kMaxRegcmdBytes / 8)
        fail(t.path() + ": the tasks up to here have more than 8 Mi words");
      job.tasks.push_back(task);
    });
    if (job.tasks.empty()) fail(n.path() + ".tasks is empty");
    submit.jobs.push_back(std::move(job));
  });
  return submit;
}

json parse_bounded(std::string_view text) {
  if (text.size() > kMaxJsonBytes) fail("larger than 16 MiB");
  bool too_deep = false;
  const auto watch = [&](int depth, json::parse_event_t, json&) {
    if (depth > static_cast<int>(kMaxJsonDepth)) too_deep = true;
    return !too_deep;
  };
  try {
    json value = json::parse(text, watch);
    if (too_deep) fail("nested too deeply");
    return value;
  } catch (const json::exception& error) {  // syntax, or a number beyond double
    fail(error.what());
  }
}

}  // namespace

std::size_t Tensor::elements() const {
  std::size_t n = 1;
  for (const std::uint32_t d : dims) n *= d;
  return n;
}

const CaseBo* CaseSubmit::find(std::uint32_t handle) const {
  const auto it = by_handle.find(handle);
  return it == by_handle.end() ? nullptr : &bos[it->second];
}

const Tensor& Case::tensor(int id) const {
  for (const Tensor& t : tensors)
    if (t.id == id) return t;
  fail(fmt::format("there is no tensor {}", id));
}

Case parse_case(std::string_view text, const FileReader& read_one) {
  // A kilobyte of gzip can stand for a megabyte and be named many times.
  std::size_t left = kMaxFileBytes;
  const FileReader read = [&](const std::string& name, std::size_t max_bytes) {
    if (left < max_bytes) max_bytes = left;
    try {
      std::vector<std::byte> bytes = read_one(name, max_bytes);
      left -= std::min(left, bytes.size());
      return bytes;
    } catch (const Error& error) {
      if (max_bytes != left) throw;
      throw Error(error.code(), fmt::format("{} (all files of a case may hold {} MiB together)",
                                            error.what(), kMaxFileBytes >> 20));
    }
  };
  const json parsed = parse_bounded(text);
  const Node root(parsed, "(root)");
  if (root["format"].integer(0, 1000) != 1) fail("only format 1 is known");
  Case c;
  c.name = root["name"].text();
  c.kind = root["kind"].text();
  if (root.has("note")) c.note = root["note"].text();
  c.agrees_with_cpu = root["agrees_with_cpu"].boolean();
  read_model(root["model"], c);
  root["input_files"].each_member(
      [&](const std::string& key, const Node& n) { read_reference(key, n, read, c); });
  root["reference_files"].each_member(
      [&](const std::string& key, const Node& n) { read_reference(key, n, read, c); });
  c.regcmd = regdb::parse_regcmd_bytes(read("regcmd.bin", kMaxRegcmdBytes));
  Work work;
  root["submits"].each([&](const Node& n) { c.submits.push_back(read_submit(n, read, c, work)); });
  root["checks"].each(
      [&](const Node& n) {
        CaseCheck check{n["op"].id(), n["tensor"].id(), n["executor_sha256"].text()};
        (void)c.tensor(check.tensor);
        c.checks.push_back(std::move(check));
      },
      kMaxSearched);
  return c;
}

Case load_case(const std::filesystem::path& dir) {
  const std::vector<std::byte> text = read_file(dir / "case.json", kMaxJsonBytes);
  return parse_case({reinterpret_cast<const char*>(text.data()), text.size()},
                    [&](const std::string& name, std::size_t max_bytes) {
                      return read_file(dir / name, max_bytes);
                    });
}

}  // namespace npu::probe
