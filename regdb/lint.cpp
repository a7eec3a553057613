// SPDX-License-Identifier: MIT
// Words, trailer, fields [control-and-uapi B.1, B.2; TRM 36.5], and the rules that are data.
#include "regdb/lint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "regdb/error.hpp"
#include "regdb/lint_values.hpp"
#include "regdb/registers.hpp"

namespace npu::regdb {
namespace {

constexpr std::size_t kMaxWords = 131072;  // PC.REGISTER_AMOUNTS: 16 bits of two words
constexpr std::uint32_t kPingPong =
    LintValues::kDriverPointer;              // what the driver writes for CNA and CORE
constexpr std::uint32_t kEnableBits = 0x7D;  // GLOBAL.OPERATION_ENABLE
constexpr std::uint16_t kEnableOffset = 0x0008;

bool is(std::uint64_t word, Target target) {
  return Regcmd::unpack(word).target == static_cast<std::uint16_t>(target);
}

// Registers whose every write counts, or that each program writes for itself.
bool may_repeat(const RegisterInfo& reg) {
  return reg.offset == dpu::LUT_ACCESS_CFG::offset || reg.offset == dpu::LUT_ACCESS_DATA::offset ||
         reg.block == Block::pc;
}

std::string describe(const LintOperand& operand, std::uint32_t bits) {
  const std::int64_t value = own_value(*operand.field, operand.field->extract(bits));
  const bool address = operand.field->encoding == Encoding::address;
  return fmt::format(fmt::runtime(address ? "{}={:#x}" : "{}={}"), path_of(operand), value);
}

void replace(std::string& text, std::string_view mark, const std::string& with) {
  for (std::size_t at = text.find(mark); at != text.npos; at = text.find(mark, at + with.size()))
    text.replace(at, mark.size(), with);
}

class Linter {
 public:
  Linter(std::span<const std::uint64_t> words, std::vector<Finding>& findings)
      : words_(words), findings_(findings) {}

  void task(const LintTask& range) {
    first_ = range.first;
    end_ = range.first + range.count;
    std::size_t enable = end_;
    for (std::size_t i = first_; i < end_ && enable == end_; ++i)
      if (is(words_[i], Target::enable)) enable = i;
    if (range.count > kMaxWords)
      add("too-many-words", first_, "", fmt::format("{} words", range.count));
    for (std::size_t i = first_; i < enable; ++i) word(i);
    if (enable == end_) {
      add("no-enable", end_ > first_ ? end_ - 1 : end_, "",
          fmt::format("{} words and no enable word (target 0x0081) among them", range.count));
    } else {
      trailer(enable);
      for (std::size_t i = enable + 1; i < end_; ++i)
        if (words_[i] != 0) {
          add("after-enable", i, "",
              fmt::format("{} words behind it are not run", end_ - 1 - enable));
          break;
        }
      const std::uint32_t mask = Regcmd::unpack(words_[enable]).value;
      enabled_blocks(enable, mask);
      checks(enable, mask);
      values_.ran(mask);
    }
    ++task_;
  }

 private:
  void add(std::string_view id, std::size_t word, std::string where, std::string message) {
    findings_.push_back({&lint_rule(id), task_, word, std::move(where), std::move(message)});
  }

  void word(std::size_t at) {
    const Regcmd c = Regcmd::unpack(words_[at]);
    if (words_[at] == 0 || is(words_[at], Target::marker)) return;
    const auto block = block_of_target(c.target);
    if (!block) {
      add("unknown-target", at, "",
          fmt::format("target {:#06x}, register {:#06x}", c.target, c.offset));
      return;
    }
    if ((c.offset & ~0xFFF) != info(*block).base) {
      add("wrong-block", at, std::string(info(*block).name),
          fmt::format("{:#06x} is no register of {}", c.offset, info(*block).name));
      return;
    }
    const RegisterInfo* reg = find_register(*block, c.offset);
    if (reg == nullptr) {
      add("unknown-register", at, std::string(info(*block).name),
          fmt::format("{}.{:#06x} = {:#010x}", info(*block).name, c.offset, c.value));
      return;
    }
    const std::string path = path_of({reg, nullptr});
    if (reg->access == Access::read_only) {
      add("read-only-register", at, path, path + " can only be read");
      return;
    }
    bits(at, *reg, path, c.value);
    const auto before = values_.write(*reg, c.value, task_, at);
    if (before.written && before.task == task_ && before.word >= first_ && before.bits != c.value &&
        !may_repeat(*reg))
      add("rewritten", at, path,
          fmt::format("{} = {:#010x}, after {:#010x} in word {}", path, c.value, before.bits,
                      before.word));
  }

  void bits(std::size_t at, const RegisterInfo& reg, const std::string& path, std::uint32_t value) {
    const bool pc_link = reg.offset == pc::BASE_ADDRESS::offset && reg.block == Block::pc;
    for (const FieldInfo& field : reg.fields) {
      const std::uint32_t content = field.extract(value);
      if (content == 0) continue;
      const auto owner = std::find_if(reg.fields.begin(), reg.fields.end(), [](const auto& f) {
        return f.encoding == Encoding::address;
      });
      const bool below_address =
          field.reserved() && owner != reg.fields.end() && field.high < owner->low;
      if (below_address)
        add("misaligned-address", at, path,
            fmt::format("{}={:#x} is not a multiple of {}", path, value, 1u << owner->low));
      else if (field.reserved())
        add("reserved-bits", at, path,
            fmt::format("{} = {:#010x}: bits {}:{} are reserved and hold {:#x}", path, value,
                        field.high, field.low, content));
      else if (!field.values.empty() &&
               std::none_of(field.values.begin(), field.values.end(),
                            [&](const EnumValue& v) { return v.value == content; }))
        add("unknown-value", at, path + "." + lower_name(field.name),
            fmt::format("{}.{}={}", path, lower_name(field.name), content));
      else if (pc_link && field.low == 0)
        add("broken-link", at, path + ".pc_sel",
            path + ".pc_sel=1 hands the registers to the CPU: the next program is not fetched");
    }
  }

  // Empty word or PC.BASE_ADDRESS, PC.REGISTER_AMOUNTS, marker, enable word.
  void trailer(std::size_t enable) {
    std::optional<std::uint32_t> address, amount;
    std::size_t link = enable;
    for (std::size_t i = first_; i < enable; ++i) {
      const Regcmd c = Regcmd::unpack(words_[i]);
      if (!is(words_[i], Target::pc)) continue;
      if (c.offset == pc::BASE_ADDRESS::offset) address = c.value, link = i;
      if (c.offset == pc::REGISTER_AMOUNTS::offset) amount = c.value, link = i;
    }
    if (enable == first_ || !is(words_[enable - 1], Target::marker))
      add("no-marker", enable, "", "the word before the enable word is not 0x0041000000000000");
    if (!amount)
      add("no-amounts", enable, "PC.REGISTER_AMOUNTS",
          "PC.REGISTER_AMOUNTS is not written: it keeps what the driver wrote for this program");
    else if (address && *address != 0 && (*amount & 0xFFFF) == 0)  // Mesa ends with 0 and 0
      add("broken-link", link, "PC.REGISTER_AMOUNTS",
          fmt::format("the next program at {:#x} has an amount of 0: two words are fetched",
                      *address));
    else if (!address && *amount != 0)
      add("broken-link", link, "PC.REGISTER_AMOUNTS",
          "an amount for the next program, but no address (PC.BASE_ADDRESS): a chain ends here");
    if ((enable + 1 - first_) % 2 != 0)
      add("odd-words", enable, "", fmt::format("{} words", enable + 1 - first_));
  }

  void enabled_blocks(std::size_t enable, std::uint32_t mask) {
    const Regcmd c = Regcmd::unpack(words_[enable]);
    if (mask == 0 || (mask & ~kEnableBits) != 0 || c.offset != kEnableOffset)
      add("enable-bits", enable, "PC.OPERATION_ENABLE",
          mask == 0 ? "an empty mask starts nothing"
                    : fmt::format("mask {:#x} at register {:#06x}", mask, c.offset));
    for (const BlockInfo& block : blocks()) {
      const std::uint32_t bit = enable_bit(block.block);
      if (bit == 0) continue;
      const bool driver = block.block == Block::cna || block.block == Block::core;
      if ((mask & bit) == 0) {
        unused(block, enable);
      } else if (!values_.set_up(block.block)) {
        add("enable-unwritten", enable, std::string(block.name),
            fmt::format("mask {:#x} enables {}, of which no register was written", mask,
                        block.name));
      } else if (!driver && (values_.pointer(block.block).value_or(0) & kPingPong) != kPingPong) {
        const auto pointer = values_.pointer(block.block);
        add("missing-pointer", enable, std::string(block.name),
            pointer ? fmt::format("S_POINTER of {} is {:#x}", block.name, *pointer)
                    : fmt::format("S_POINTER of {} is not written", block.name));
      }
    }
  }

  void unused(const BlockInfo& block, std::size_t enable) {
    for (std::size_t i = first_; i < enable; ++i) {
      const Regcmd c = Regcmd::unpack(words_[i]);
      if (c.target != static_cast<std::uint16_t>(block.target) || (c.offset & 0xFFF) <= 8) continue;
      add("write-unused", i, std::string(block.name),
          fmt::format("registers of {} are written, but mask {:#x} does not enable it", block.name,
                      Regcmd::unpack(words_[enable]).value));
      return;
    }
  }

  void checks(std::size_t enable, std::uint32_t mask) {
    for (const LintRule& rule : lint_rules())
      for (const LintCheck& check : rule.checks) {
        if ((mask & check.enabled) != check.enabled) continue;
        switch (check.kind) {
          case LintKind::require: require(rule, check); break;
          case LintKind::never_write: never(rule, check); break;
          case LintKind::must_write: must(rule, check, enable); break;
        }
      }
  }

  bool here(const LintValues::Value& value) const {
    return value.written && value.task == task_ && value.word >= first_;
  }
  std::int64_t value_of(const LintOperand& operand) const {
    return own_value(*operand.field, operand.field->extract(values_.of(*operand.reg).bits));
  }

  void never(const LintRule& rule, const LintCheck& check) {
    for (const LintOperand& operand : check.left)
      if (const auto& value = values_.of(*operand.reg); here(value))
        add(rule.id, value.word, path_of(operand),
            fmt::format("{}: {}", path_of(operand), check.message));
  }

  void must(const LintRule& rule, const LintCheck& check, std::size_t enable) {
    std::string names;
    std::size_t missing = 0;
    for (const LintOperand& operand : check.left) {
      if (values_.of(*operand.reg).written) continue;
      if (++missing <= 4) names += (names.empty() ? "" : ", ") + path_of(operand);
    }
    const Block block = check.left.front().reg->block;
    if (missing == 0 || !values_.set_up(block)) return;
    if (missing > 4) names += fmt::format(" and {} more", missing - 4);
    add(rule.id, enable, std::string(info(block).name), names + ": " + std::string(check.message));
  }

  // Only what this task touches, and only values that the stream gave.
  void require(const LintRule& rule, const LintCheck& check) {
    for (const LintTerm& term : check.when)
      if (!compare(term.op, value_of(term.operand), term.value)) return;
    std::int64_t left = check.product ? 1 : 0;
    const LintValues::Value* last = nullptr;
    bool touched = false;
    const auto look = [&](const LintOperand& operand) {
      const auto& value = values_.of(*operand.reg);
      touched |= here(value);
      if (last == nullptr || value.word > last->word) last = &value;
      return value.written;
    };
    for (const LintOperand& operand : check.left) {
      if (!look(operand)) return;
      left = check.product ? left * value_of(operand) : left + value_of(operand);
    }
    std::int64_t right = check.value;
    if (check.right.reg != nullptr) {
      if (!look(check.right)) return;
      right = value_of(check.right);
    }
    if (!touched || compare(check.op, left, right)) return;
    std::string message(check.message);
    for (std::size_t i = 0; i < check.left.size(); ++i)
      replace(message, fmt::format("{{{}}}", i),
              describe(check.left[i], values_.of(*check.left[i].reg).bits));
    replace(message, "{l}", std::to_string(left));
    replace(message, "{r}",
            check.right.reg == nullptr ? std::to_string(right)
                                       : describe(check.right, values_.of(*check.right.reg).bits));
    add(rule.id, last->word, path_of(check.left.back()), std::move(message));
  }

  std::span<const std::uint64_t> words_;
  std::vector<Finding>& findings_;
  LintValues values_;
  std::size_t task_ = 0, first_ = 0, end_ = 0;
};

}  // namespace

std::string_view to_string(Severity severity) {
  switch (severity) {
    case Severity::note: return "note";
    case Severity::warning: return "warning";
    case Severity::error: return "error";
  }
  return "?";
}

const LintRule& lint_rule(std::string_view id) {
  for (const LintRule& rule : lint_rules())
    if (rule.id == id) return rule;
  throw Error(ErrorCode::invalid_argument, fmt::format("there is no lint rule {}", id));
}

std::vector<LintTask> lint_tasks(std::span<const std::uint64_t> words) {
  std::vector<LintTask> tasks;
  for (std::size_t i = 0; i < words.size();) {
    if (words[i] == 0) {
      ++i;
      continue;
    }
    std::size_t end = i;
    while (end < words.size() && !is(words[end], Target::enable)) ++end;
    if (end < words.size()) ++end;
    tasks.push_back({i, end - i});
    i = end;
  }
  return tasks;
}

std::vector<Finding> lint(std::span<const std::uint64_t> words, std::span<const LintTask> tasks) {
  std::vector<Finding> findings;
  Linter linter(words, findings);
  for (const LintTask& task : tasks) {
    if (task.first > words.size() || task.count > words.size() - task.first)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("a task of words {} to {}, but there are {}", task.first,
                              task.first + task.count, words.size()));
    linter.task(task);
  }
  std::stable_sort(findings.begin(), findings.end(), [](const Finding& a, const Finding& b) {
    return a.task != b.task ? a.task < b.task : a.word < b.word;
  });
  return findings;
}

std::vector<Finding> lint(std::span<const std::uint64_t> words) {
  return lint(words, lint_tasks(words));
}

}  // namespace npu::regdb
