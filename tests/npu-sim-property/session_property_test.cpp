// SPDX-License-Identifier: MIT
// Chains of tasks, and three cores at once: the bytes are those of one core alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "session.hpp"

namespace npu::sim::property {
namespace {

TEST(SessionProperty, TasksInARowEqualTheReference) {
  Chip chip;
  for_each_case(80, [&](Draw& draw) {
    Arena arena(draw);
    const Session session = draw_session(draw, arena, 6);
    return mismatch(chip, arena, session);
  });
}

TEST(SessionProperty, MatrixProductsInTilesEqualTheWholeProduct) {
  // One product cut in rows and in kernels: the tasks share the inputs and fill one output.
  Chip chip;
  for_each_case(20, [&](Draw& draw) {
    Arena arena(draw);
    const Type type =
        draw.one_of({Type::int8, Type::int4, Type::int16, Type::fp16, Type::bf16, Type::tf32});
    ConvSpec whole;
    whole.type = type;
    const TypeFacts f = facts(type);
    whole.channels = 32 * draw.pick(1, 12);
    whole.in_height = whole.out_height = draw.pick(4, 24);
    whole.kernels = whole.out_channels = f.kernel_group * draw.pick(1, 3);
    whole.line = 16;
    whole.plane = whole.in_height * 16;
    whole.features = arena.reserve(std::size_t{whole.plane} * whole.channels / f.atom());
    const std::size_t kernel_bytes = std::size_t{whole.channels} * f.bits / 8;
    whole.weights = arena.reserve(kernel_bytes * whole.kernels);
    if (is_real(type)) {
      fill(draw, arena, whole.features, std::size_t{whole.plane} * whole.channels / f.atom(), type,
           -4, 4);
      fill(draw, arena, whole.weights, kernel_bytes * whole.kernels, type, -4, 4);
    }
    whole.out = is_real(type) ? kOutFp32 : type == Type::int4 ? kOutInt16 : kOutInt32;
    whole.od_bypass = type == Type::int8;
    whole.size_e = whole.group_planes() - 1;
    whole.dst_plane = whole.out_height * 16;
    whole.dst_group = whole.dst_plane * whole.group_planes();
    whole.dst = arena.reserve(std::size_t{whole.dst_group} * whole.kernels / f.kernel_group);
    const Session reference{.tasks = {conv_task(arena, whole)}};

    Session tiles{.chained = draw.once_in(2), .partial = draw.once_in(2)};
    const std::uint32_t rows = draw.pick(1, whole.in_height);
    for (std::uint32_t row = 0; row < whole.in_height; row += rows)
      for (std::uint32_t kernel = 0; kernel < whole.kernels; kernel += f.kernel_group) {
        ConvSpec tile = whole;
        tile.in_height = tile.out_height = std::min(rows, whole.in_height - row);
        tile.kernels = tile.out_channels = f.kernel_group;
        tile.features += row * 16;
        tile.weights += kernel * static_cast<std::uint32_t>(kernel_bytes);
        tile.dst += kernel / f.kernel_group * whole.dst_group + row * 16;
        tile.data_reuse = kernel != 0;
        tiles.tasks.push_back(conv_task(arena, tile));
      }
    const Image want = expected(arena, reference);
    Bench bench(arena);
    const Programs programs = bench.add(tiles);
    chip.reset(0);
    auto wrong = start(chip, 0, bench, tiles, programs);
    if (!wrong) wrong = difference(bench, want);
    chip.attach(0, nullptr);
    if (wrong)
      *wrong += "\n  tiles of " + std::to_string(rows) + " rows of " + reference.tasks[0].text;
    return wrong;
  });
}

// Three sessions in one address space, each with its own output, at the same time.
TEST(ScheduleProperty, ThreeCoresGiveTheBytesOfOneWithAnyNumberOfThreads) {
  for (const unsigned threads : {1u, 2u, 3u, 4u}) {
    ChipOptions options;
    options.threads = threads;
    Chip chip(options);
    for_each_case(10, [&](Draw& draw) {
      Arena arena(draw);
      std::array<Session, 3> sessions;
      for (Session& session : sessions) session = draw_session(draw, arena, 4);
      Image want = arena.image;
      for (const Session& session : sessions) {
        PlainCbuf cbuf;
        for (const Task& task : session.tasks) task.effect(want, cbuf);
      }
      Bench bench(arena);
      std::array<Programs, 3> programs;
      std::array<std::optional<std::string>, 3> wrong;
      for (unsigned core = 0; core < 3; ++core) {
        programs[core] = bench.add(sessions[core]);
        chip.reset(core);
      }
      std::vector<std::thread> hosts;
      for (unsigned core = 0; core < 3; ++core)
        hosts.emplace_back(
            [&, core] { wrong[core] = start(chip, core, bench, sessions[core], programs[core]); });
      for (std::thread& host : hosts) host.join();
      for (unsigned core = 0; core < 3; ++core) {
        chip.attach(core, nullptr);
        if (wrong[core]) return wrong[core];
      }
      auto first = difference(bench, want);
      if (first) {
        *first += ", with " + std::to_string(threads) + " host threads";
        for (const Session& session : sessions)
          for (const Task& task : session.tasks) *first += "\n  " + task.text;
      }
      return first;
    });
    if (HasFatalFailure()) return;
  }
}

// Surfaces that lie over each other and over the operand: no program of a driver, but one result.
TEST(ScheduleProperty, OverlappingSurfacesGiveTheSameBytesWithAnyNumberOfThreads) {
  ChipOptions one, four;
  one.threads = 1;
  four.threads = 4;
  Chip alone(one), helped(four);
  for_each_case(60, [&](Draw& draw) -> std::optional<std::string> {
    Arena arena(draw);
    const Type type = draw.one_of({Type::int8, Type::int8, Type::fp16});
    ConvSpec spec = draw_conv(draw, arena, type, {.side = 12, .channels = 64, .kernels = 128});
    spec.dst_plane = 16 * draw.pick(0, 3);
    spec.dst_group = 16 * draw.pick(0, 9);
    if (spec.ew) spec.addend = spec.dst + (draw.once_in(4) ? 0 : 16 * draw.pick(1, 4));
    // Room for what the operand reads behind the output.
    arena.reserve(std::size_t{spec.out_width} * spec.out_height * spec.out_channels * 4);
    const Session session{.tasks = {conv_task(arena, spec)}};
    Bench first(arena), second(arena);
    for (auto [chip, bench] : {std::pair{&alone, &first}, std::pair{&helped, &second}}) {
      const Programs programs = bench->add(session);
      chip->reset(0);
      const auto wrong = start(*chip, 0, *bench, session, programs);
      chip->attach(0, nullptr);
      if (wrong) return *wrong + "\n  " + session.tasks[0].text;
    }
    if (std::equal(first.memory.get(), first.memory.get() + first.bytes, second.memory.get()))
      return std::nullopt;
    return "the bytes depend on the number of threads\n  " + session.tasks[0].text;
  });
}

}  // namespace
}  // namespace npu::sim::property
