// SPDX-License-Identifier: MIT
#include "npu-probe/relocation.hpp"

#include <gtest/gtest.h>

#include "regdb/registers.hpp"

namespace npu::probe::test {
namespace {

namespace rd = npu::regdb;

template <class R>
std::uint64_t word(std::uint32_t value) {
  return rd::Regcmd{static_cast<std::uint16_t>(R::target), value, R::offset}.pack();
}
std::uint64_t enable() { return rd::Regcmd{0x81, 0x1D, 8}.pack(); }

IovaMap two_buffers() {
  IovaMap map;
  map.add(0x1000, 0x800, 0x5000);
  map.add(0x2000, 0x1000, 0x9000);
  return map;
}

TEST(Relocation, AddressesFollowTheirBuffersAndOthersStay) {
  const IovaMap map = two_buffers();
  EXPECT_EQ(map.to_device(0x1000), 0x5000u);
  EXPECT_EQ(map.to_device(0x17F0), 0x57F0u);
  EXPECT_EQ(map.to_device(0x2000), 0x9000u);  // a buffer's start, not the end of the one before
  EXPECT_EQ(map.to_device(0x3000), 0xA000u);  // one past the last
  EXPECT_EQ(map.to_device(0x3010), 0x3010u);
  EXPECT_EQ(map.to_device(0x0FFF), 0x0FFFu);
  EXPECT_EQ(map.to_recording(0x9010), 0x2010u);
  EXPECT_TRUE(map.moves());
  IovaMap same;
  same.add(0, 4096, 0);
  EXPECT_FALSE(same.moves());
}

TEST(Relocation, EveryAddressRegisterOfAProgramIsRewritten) {
  const std::vector<std::uint64_t> before{
      word<rd::cna::FEATURE_DATA_ADDR>(0x1010), word<rd::cna::DCOMP_ADDR0>(0x2020),
      word<rd::dpu::DST_BASE_ADDR>(0x2030),     word<rd::dpu_rdma::RDMA_SRC_BASE_ADDR>(0x1040),
      word<rd::ppu::DST_BASE_ADDR>(0x1050),     word<rd::ppu_rdma::RDMA_SRC_BASE_ADDR>(0x1060),
      word<rd::cna::DMA_CON1>(0x1010),          enable()};
  std::vector<std::uint64_t> words = before;
  std::uint32_t base = 0;
  const ChainLink link = relocate_program(words, two_buffers(), base);
  EXPECT_EQ(link.words, 0u);
  EXPECT_EQ(words[0], word<rd::cna::FEATURE_DATA_ADDR>(0x5010));
  EXPECT_EQ(words[1], word<rd::cna::DCOMP_ADDR0>(0x9020));
  EXPECT_EQ(words[2], word<rd::dpu::DST_BASE_ADDR>(0x9030));
  EXPECT_EQ(words[3], word<rd::dpu_rdma::RDMA_SRC_BASE_ADDR>(0x5040));
  EXPECT_EQ(words[4], word<rd::ppu::DST_BASE_ADDR>(0x5050));
  EXPECT_EQ(words[5], word<rd::ppu_rdma::RDMA_SRC_BASE_ADDR>(0x5060));
  EXPECT_EQ(words[6], before[6]);  // not an address, though it looks like one
  EXPECT_EQ(words[7], before[7]);
}

TEST(Relocation, LinksOfChainsAreFollowedAndTheEndOfAChainStays) {
  IovaMap map;
  map.add(0, 4096, 0x7000);
  std::vector<std::uint64_t> words{word<rd::pc::BASE_ADDRESS>(0x240),
                                   word<rd::pc::REGISTER_AMOUNTS>(55), 0, enable()};
  std::uint32_t base = 0;
  const ChainLink link = relocate_program(words, map, base);
  EXPECT_EQ(link.iova, 0x240u);
  EXPECT_EQ(link.words, 112u);
  EXPECT_EQ(words[0], word<rd::pc::BASE_ADDRESS>(0x7240));
  words = {word<rd::pc::BASE_ADDRESS>(0), word<rd::pc::REGISTER_AMOUNTS>(0), 0, enable()};
  EXPECT_EQ(relocate_program(words, map, base).words, 0u);
  EXPECT_EQ(words[0], word<rd::pc::BASE_ADDRESS>(0));
}

TEST(Relocation, AddressesRelativeToABaseStayRelativeToIt) {
  std::vector<std::uint64_t> words{word<rd::cna::FEATURE_DATA_ADDR>(0x20),
                                   word<rd::pc::TASK_DMA_BASE_ADDR>(0x2000), enable(),
                                   word<rd::cna::FEATURE_DATA_ADDR>(0x1000)};
  std::uint32_t base = 0;
  relocate_program(words, two_buffers(), base);
  EXPECT_EQ(base, 0x2000u);
  // 0x2020 is at 0x9020 now, and 0x2000 is added to what stands there.
  EXPECT_EQ(words[0], word<rd::cna::FEATURE_DATA_ADDR>(0x7020));
  EXPECT_EQ(words[3], word<rd::cna::FEATURE_DATA_ADDR>(0x1000));  // behind the enable word
}

}  // namespace
}  // namespace npu::probe::test
