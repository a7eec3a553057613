// SPDX-License-Identifier: MIT
#include "llm-runtime/serve/scheduler.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>

#include "llm-runtime/serve/session.hpp"
#include "regdb/error.hpp"

namespace npu::llm::serve {
namespace {

using Clock = std::chrono::steady_clock;

const Refusal kStopping{.status = 503,
                        .message = "the server is stopping: ask again in a while, or another one",
                        .type = "server_error",
                        .code = "draining",
                        .retry_after = 5};

struct Slot {
  std::unique_ptr<Session> session;  ///< null: free
  std::uint64_t used = 0;            ///< when it was taken last, by a count
};

}  // namespace

std::vector<std::uint32_t> share_rows(const std::vector<std::uint32_t>& remaining,
                                      std::uint32_t rows) {
  std::vector<std::uint32_t> share(remaining.size());
  std::vector<std::size_t> order(remaining.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return remaining[i]; });
  rows = std::max(rows, 1u);
  auto left = static_cast<std::uint32_t>(remaining.size());
  // Shortest first: what one does not need, the longer ones share.
  for (const std::size_t i : order) {
    share[i] = std::min(remaining[i], (rows + left - 1) / left);
    rows -= share[i];
    --left;
  }
  return share;
}

struct Scheduler::Impl {
  Impl(Engine& e, const Tokenizer& t, const SchedulerOptions& o, Metrics& m)
      : engine(e), tokenizer(t), options(o), metrics(m), slots(e.options().sequences) {
    state.sessions = e.options().sequences;
    state.on_npu = e.offload_stats() != nullptr;
    if (state.on_npu) state.npu_provenance = e.device_info()->provenance;
    thread = std::thread([this] { run(); });
  }

  Engine& engine;
  const Tokenizer& tokenizer;
  const SchedulerOptions options;
  Metrics& metrics;

  // Shared with other threads, under the mutex.
  mutable std::mutex mutex;
  std::condition_variable work, idle;
  std::deque<Ticket> queue;
  SchedulerState state;
  bool draining = false, aborting = false, ending = false;

  // The thread's own.
  std::vector<Slot> slots;
  std::uint64_t clock = 0;
  std::vector<Engine::Append> rows;
  std::thread thread;

  void run();
  void admit();
  void drop_cancelled();
  void take_seat(Ticket ticket);
  void step();
  void collect_rows();
  void read_logits(std::span<const float> logits);
  void fail_all(const Refusal& refusal);
  void release(Slot& slot);
  bool any_active() const {
    return std::ranges::any_of(slots, [](const Slot& slot) { return slot.session != nullptr; });
  }
};

void Scheduler::Impl::run() {
  for (;;) {
    {
      std::unique_lock lock(mutex);
      if (!any_active() && queue.empty()) {
        idle.notify_all();
        work.wait(lock, [&] { return !queue.empty() || ending; });
      }
      if (ending || aborting) {
        for (const Ticket& ticket : queue) ticket.answer->fail(kStopping);
        queue.clear();
        state.queued = 0;
      }
    }
    if (ending || aborting) fail_all(kStopping);
    if (ending) return;
    admit();
    if (any_active()) step();
  }
}

/// Tickets in the order of their coming.
void Scheduler::Impl::admit() {
  const std::lock_guard lock(mutex);
  std::erase_if(queue, [](const Ticket& ticket) { return ticket.answer->cancelled(); });
  for (Slot& slot : slots) {
    if (slot.session != nullptr && slot.session->answer().cancelled()) release(slot);
  }
  while (!queue.empty() &&
         std::ranges::any_of(slots, [](const Slot& slot) { return slot.session == nullptr; })) {
    take_seat(std::move(queue.front()));
    queue.pop_front();
  }
  state.queued = static_cast<std::uint32_t>(queue.size());
}

/// Of the free sessions that which holds most of the prompt, if that is much of either; else the
/// one that was not used for longest.
void Scheduler::Impl::take_seat(Ticket ticket) {
  const std::vector<TokenId>& prompt = ticket.job.prompt;
  std::uint32_t best = 0;
  std::size_t most = 0;
  bool found = false;
  for (std::uint32_t i = 0; i < slots.size(); ++i) {
    if (slots[i].session != nullptr) continue;
    const std::span<const TokenId> have = engine.tokens(i);
    auto common = static_cast<std::size_t>(std::ranges::mismatch(have, prompt).in1 - have.begin());
    // Every chat begins with the same few tokens: these are no reason to end another's
    // conversation.
    if (2 * common < std::min(have.size(), prompt.size())) common = 0;
    if (!found || common > most || (common == most && slots[i].used < slots[best].used)) {
      found = true;
      best = i;
      most = common;
    }
  }
  // What little there is in common serves in any case. The last token is evaluated for its logits.
  const std::span<const TokenId> have = engine.tokens(best);
  most = static_cast<std::size_t>(std::ranges::mismatch(have, prompt).in1 - have.begin());
  const auto cached = static_cast<std::uint32_t>(std::min(most, prompt.size() - 1));
  engine.truncate(best, cached);
  state.prompt_tokens += prompt.size();
  state.cached_tokens += cached;
  ++state.active;
  slots[best].used = ++clock;
  slots[best].session = std::make_unique<Session>(std::move(ticket), tokenizer, cached);
}

/// One token of every answer, then as much of the new prompts as is left of the batch.
void Scheduler::Impl::collect_rows() {
  rows.clear();
  std::vector<std::uint32_t> waiting, remaining;
  for (std::uint32_t i = 0; i < slots.size(); ++i) {
    const Session* session = slots[i].session.get();
    if (session == nullptr) continue;
    if (session->generating()) {
      rows.push_back({i, session->next(), true});
    } else {
      waiting.push_back(i);
      remaining.push_back(static_cast<std::uint32_t>(session->rest().size()));
    }
  }
  const auto generating = static_cast<std::uint32_t>(rows.size());
  std::uint32_t room = engine.options().batch - std::min(generating, engine.options().batch);
  if (generating != 0) room = std::min(room, kSharedPromptRows);
  const std::vector<std::uint32_t> share = share_rows(remaining, room);
  for (std::size_t w = 0; w < waiting.size(); ++w) {
    const std::span<const TokenId> tokens = slots[waiting[w]].session->rest().first(share[w]);
    for (const TokenId token : tokens) rows.push_back({waiting[w], token, false});
    if (!tokens.empty() && share[w] == remaining[w]) rows.back().logits = true;
  }
}

void Scheduler::Impl::step() {
  collect_rows();
  std::optional<Refusal> failed;
  try {
    const std::span<const float> logits = engine.append(rows);
    for (const Engine::Append& row : rows) {
      Session& session = *slots[row.sequence].session;
      if (!session.generating()) session.evaluated(1);
    }
    read_logits(logits);
  } catch (const Error& error) {
    failed = Refusal{.status = 500,
                     .message = error.what(),
                     .type = "server_error",
                     .code = std::string(to_string(error.code()))};
  } catch (const std::bad_alloc&) {
    failed = Refusal{.status = 500,
                     .message = "the server has no memory left for this step",
                     .type = "server_error",
                     .code = "out-of-memory"};
  }
  if (failed) fail_all(*failed);
  const std::lock_guard lock(mutex);
  ++state.steps;
  state.rows += rows.size();
  state.device_failures += failed ? 1 : 0;
  state.device_ok = !failed;
  if (state.on_npu) state.npu = *engine.offload_stats();
}

void Scheduler::Impl::read_logits(std::span<const float> logits) {
  const std::size_t vocabulary = engine.model().shape().vocabulary;
  for (const Engine::Append& row : rows) {
    if (!row.logits) continue;
    const std::span<const float> of_row = logits.first(vocabulary);
    logits = logits.subspan(vocabulary);
    Slot& slot = slots[row.sequence];
    Session& session = *slot.session;
    bool ended = true;
    try {
      ended = session.choose(of_row, engine.tokens(row.sequence).size() < engine.context());
    } catch (const Error& error) {  // the weights are damaged
      session.answer().fail({.status = 500,
                             .message = error.what(),
                             .type = "server_error",
                             .code = std::string(to_string(error.code()))});
    }
    if (session.usage().tokens == 1) {
      metrics.add_first_token_seconds(
          std::chrono::duration<double>(Clock::now() - session.ticket().submitted).count());
    }
    const std::lock_guard lock(mutex);
    ++state.tokens;
    if (ended) release(slot);
  }
}

void Scheduler::Impl::fail_all(const Refusal& refusal) {
  const std::lock_guard lock(mutex);
  for (Slot& slot : slots) {
    if (slot.session == nullptr) continue;
    slot.session->answer().fail(refusal);
    release(slot);
  }
}

/// With the mutex held. Its tokens stay, for a request that begins with them.
void Scheduler::Impl::release(Slot& slot) {
  slot.session.reset();
  --state.active;
}

Scheduler::Scheduler(Engine& engine, const Tokenizer& tokenizer, const SchedulerOptions& options,
                     Metrics& metrics)
    : impl_(std::make_unique<Impl>(engine, tokenizer, options, metrics)) {}

Scheduler::~Scheduler() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->ending = true;
  }
  impl_->work.notify_all();
  impl_->thread.join();
}

std::variant<std::shared_ptr<Answer>, Refusal> Scheduler::submit(std::vector<Job> jobs) {
  Impl& s = *impl_;
  const std::uint32_t context = s.engine.context();
  const std::uint32_t vocabulary = s.engine.model().shape().vocabulary;
  for (Job& job : jobs) {
    if (job.prompt.empty()) {
      return Refusal{.message = "the prompt is empty: there is nothing to go on from"};
    }
    if (job.prompt.size() >= context) {
      return Refusal{.message = fmt::format("the prompt has {} tokens, and the context {}, which "
                                            "has to hold the answer too: send fewer messages, or "
                                            "start npu-serve with a larger context (-c)",
                                            job.prompt.size(), context),
                     .code = "context_length_exceeded"};
    }
    for (const TokenId token : job.prompt) {
      if (token < 0 || static_cast<std::uint32_t>(token) >= vocabulary) {
        return Refusal{.message = fmt::format("token {} is outside the vocabulary: 0 to {}", token,
                                              vocabulary - 1),
                       .param = "prompt"};
      }
    }
    if (s.options.most_tokens != 0 &&
        (job.most_tokens == 0 || job.most_tokens > s.options.most_tokens)) {
      job.most_tokens = s.options.most_tokens;
    }
  }
  const auto sessions = static_cast<std::uint32_t>(s.slots.size());
  if (jobs.size() > sessions + s.options.queue) {
    return Refusal{.message = fmt::format("{} prompts in one request, and this server takes {}",
                                          jobs.size(), sessions + s.options.queue),
                   .param = "prompt"};
  }
  auto answer = std::make_shared<Answer>(static_cast<std::uint32_t>(jobs.size()));
  {
    const std::lock_guard lock(s.mutex);
    if (s.draining) return kStopping;
    const std::size_t free = sessions - std::min(sessions, s.state.active);
    if (s.queue.size() + jobs.size() > free + s.options.queue) {
      // When the next of those that run will have ended, more or less.
      const double turns = static_cast<double>(s.queue.size() + 1) / sessions;
      return Refusal{
          .status = 429,
          .message = fmt::format("{} answers are being made and {} requests wait already: ask "
                                 "again in a while",
                                 s.state.active, s.queue.size()),
          .type = "rate_limit_error",
          .code = "queue_full",
          .retry_after =
              static_cast<int>(std::clamp(turns * s.metrics.typical_seconds(), 1.0, 60.0))};
    }
    std::uint32_t choice = 0;
    for (Job& job : jobs) {
      s.queue.push_back({answer, choice++, std::move(job), Clock::now()});
    }
    s.state.queued = static_cast<std::uint32_t>(s.queue.size());
  }
  s.work.notify_all();
  return answer;
}

void Scheduler::drain() {
  const std::lock_guard lock(impl_->mutex);
  impl_->draining = true;
}

bool Scheduler::wait_idle(std::chrono::milliseconds most) {
  Impl& s = *impl_;
  std::unique_lock lock(s.mutex);
  return s.idle.wait_for(lock, most, [&] { return s.queue.empty() && s.state.active == 0; });
}

void Scheduler::abort() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->draining = impl_->aborting = true;
  }
  impl_->work.notify_all();
}

SchedulerState Scheduler::state() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->state;
}

}  // namespace npu::llm::serve
