// SPDX-License-Identifier: MIT
#include "session.hpp"

namespace npu::sim::property {
namespace {

// The same window over the features that CBUF holds, other kernels, stages and output; or the same
// kernels over other features.
ConvSpec reuse(Draw& d, Arena& arena, ConvSpec s) {
  const bool keep_features = d.once_in(2), keep_weights = !keep_features || d.once_in(2);
  if (keep_features) {
    s.data_reuse = true;
    s.features = arena.image.base;  // nobody may look there
  } else {
    s.data_reuse = false;
    const std::size_t bytes = std::size_t{s.plane} * (s.channels / facts(s.type).atom());
    s.features = arena.reserve(bytes);
    if (is_real(s.type)) fill(d, arena, s.features, bytes, s.type, -3, 3);
  }
  if (keep_weights) {
    s.weight_reuse = true;
    s.weights = arena.image.base;
  } else {
    s.weight_reuse = false;
    if (!s.depthwise) s.kernels = s.out_channels = d.pick(1, 40);
    const std::size_t bytes = std::size_t{s.kernel_width} * s.kernel_height * s.channels *
                              s.kernels * facts(s.type).bits / 8;
    s.weights = arena.reserve(bytes);
    if (is_real(s.type)) fill(d, arena, s.weights, bytes, s.type, -3, 3);
  }
  s.ew = false;
  draw_output(d, arena, s);
  draw_stages(d, arena, s);
  return s;
}

}  // namespace

Session draw_session(Draw& d, Arena& arena, std::uint32_t most) {
  Session session;
  session.chained = d.once_in(2);
  session.partial = d.once_in(2);
  const std::uint32_t count = d.pick(1, most);
  std::optional<ConvSpec> loaded;  // what CBUF holds
  std::optional<std::uint32_t> output;
  while (session.tasks.size() < count) {
    // Memory reserved for an input lies behind the output of the task before and is as large as
    // it has to be, so that the latter can stand in for it.
    const bool feed = output && d.once_in(2);
    switch (d.pick(0, 5)) {
      case 0:
      case 1: {
        const Type type = d.one_of(
            {Type::int8, Type::int8, Type::int4, Type::int16, Type::fp16, Type::bf16, Type::tf32});
        ConvSpec s = draw_conv(d, arena, type, {.side = 6, .channels = 48, .kernels = 40});
        if (feed && !is_real(type)) s.features = *output;
        session.tasks.push_back(conv_task(arena, s));
        loaded = s;
        output = s.dst;
        break;
      }
      case 2: {
        if (!loaded || loaded->pixels || loaded->row_major) break;
        loaded = reuse(d, arena, *loaded);
        session.tasks.push_back(conv_task(arena, *loaded));
        output = loaded->dst;
        break;
      }
      case 3: {
        PoolSpec s = draw_pool(d, arena);
        if (feed && s.type != 2) s.src = *output;
        session.tasks.push_back(pool_task(arena, s));
        output = s.dst;
        break;
      }
      case 4: {
        FlyingSpec s = draw_flying(d, arena, d.one_of({kInt8, kInt16, kInt32, kFp16}));
        if (feed && s.type != kFp16) s.src = *output;
        session.tasks.push_back(flying_task(arena, s));
        output = s.dst;
        break;
      }
      default: {
        if (!d.once_in(3)) break;
        const FlyingSpec s = draw_flying(d, arena, kFp16, true);
        session.tasks.push_back(flying_task(arena, s));
        output = s.dst;
      }
    }
  }
  return session;
}

}  // namespace npu::sim::property
