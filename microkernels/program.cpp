// SPDX-License-Identifier: MIT
#include "microkernels/program.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "regdb/decoder.hpp"
#include "regdb/error.hpp"
#include "regdb/regcmd.hpp"
#include "regdb/registers.hpp"

namespace npu::kernels {

namespace {

template <class R>
std::uint64_t word(const R& reg) {
  return regdb::Regcmd{static_cast<std::uint16_t>(R::target), reg.encode(), R::offset}.pack();
}

}  // namespace

BoundProgram bind(const Program& program, std::span<const std::uint32_t> iova) {
  constexpr std::size_t kAlign = kProgramAlignment / sizeof(std::uint64_t);
  BoundProgram bound;
  std::size_t words = 0;
  for (const auto& task : program.tasks) {
    bound.tasks.push_back({words * sizeof(std::uint64_t), static_cast<std::uint32_t>(task.size())});
    words += (task.size() + kAlign - 1) / kAlign * kAlign;
  }
  bound.words.resize(words);
  for (std::size_t i = 0; i < program.tasks.size(); ++i) {
    std::copy(program.tasks[i].begin(), program.tasks[i].end(),
              bound.words.begin() +
                  static_cast<std::ptrdiff_t>(bound.tasks[i].offset / sizeof(std::uint64_t)));
  }
  for (const Relocation& r : program.relocations) {
    if (r.task >= program.tasks.size() || r.word >= program.tasks[r.task].size()) {
      throw Error(
          ErrorCode::invalid_argument,
          fmt::format("relocation of task {} word {} lies outside the program", r.task, r.word));
    }
    if (r.slot >= iova.size()) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("task {} word {} needs the address of buffer {}, but only {} are "
                              "given",
                              r.task, r.word, r.slot, iova.size()));
    }
    const std::uint64_t address = iova[r.slot] + r.offset;
    if (r.offset >> 32 != 0 || address >> 32 != 0) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("task {} word {}: IOVA {:#x} + {:#x} leaves the 4 GiB window", r.task,
                              r.word, iova[r.slot], r.offset));
    }
    std::uint64_t& word = bound.words[bound.tasks[r.task].offset / sizeof(std::uint64_t) + r.word];
    regdb::Regcmd command = regdb::Regcmd::unpack(word);
    command.value = static_cast<std::uint32_t>(address);
    word = command.pack();
  }
  return bound;
}

void link_tasks(BoundProgram& program, std::size_t first, std::size_t count, std::uint32_t base) {
  namespace pc = regdb::pc;
  if (first + count > program.tasks.size() || count > program.tasks.size())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("tasks {} to {} are not in a program of {}", first, first + count,
                            program.tasks.size()));
  constexpr std::size_t kTrailer = 4;
  for (std::size_t i = 0; i < count; ++i) {
    const BoundProgram::Task& task = program.tasks[first + i];
    if (task.count < kTrailer)
      throw Error(ErrorCode::invalid_argument, fmt::format("task {} has no trailer", first + i));
    std::uint64_t* trailer =
        &program.words[task.offset / sizeof(std::uint64_t) + task.count - kTrailer];
    if (i + 1 == count) {
      trailer[0] = 0;
      trailer[1] = word(pc::REGISTER_AMOUNTS{});
      continue;
    }
    const BoundProgram::Task& next = program.tasks[first + i + 1];
    // Amounts count pairs of words, less one [rocket_job.c].
    trailer[0] =
        regdb::Regcmd{static_cast<std::uint16_t>(regdb::Target::pc),
                      base + static_cast<std::uint32_t>(next.offset), pc::BASE_ADDRESS::offset}
            .pack();
    trailer[1] = word(pc::REGISTER_AMOUNTS{.pc_data_amount = (next.count + 1) / 2 - 1});
  }
}

std::string to_string(const Program& program) {
  std::map<std::pair<std::uint32_t, std::uint32_t>, const Relocation*> relocations;
  for (const Relocation& r : program.relocations) relocations[{r.task, r.word}] = &r;
  std::string text;
  for (std::uint32_t t = 0; t < program.tasks.size(); ++t) {
    text += fmt::format("task {}: {} words\n", t, program.tasks[t].size());
    for (std::uint32_t w = 0; w < program.tasks[t].size(); ++w) {
      const regdb::DecodedWord decoded = regdb::decode(program.tasks[t][w]);
      const auto found = relocations.find({t, w});
      if (found == relocations.end()) {
        text += fmt::format("{:4} {}\n", w, regdb::to_text(decoded));
      } else {
        const Relocation& r = *found->second;
        text += fmt::format(
            "{:4} {}.{} = {} + {:#x}\n", w, decoded.block, decoded.name,
            r.slot < program.slots.size() ? program.slots[r.slot] : fmt::format("slot {}", r.slot),
            r.offset);
      }
    }
  }
  return text;
}

}  // namespace npu::kernels
