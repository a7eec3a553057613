// SPDX-License-Identifier: MIT
// One open file of the vendor driver's nodes: its ioctls over the simulated machine.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "preload/open_file.hpp"
#include "preload/rknpu_machine.hpp"
#include "preload/rknpu_object.hpp"

namespace npu::preload {

/// The chip behind the vendor driver in this process. Throws npu::Error.
std::shared_ptr<RknpuMachine> shared_rknpu_machine();
RknpuObjects& rknpu_objects();

/// A DRM node (/dev/dri/cardN, renderDN) or the node of the build without DRM (/dev/rknpu).
class RknpuFile final : public OpenFile {
 public:
  enum class Kind { card, render, misc };
  RknpuFile(Kind kind, dev_t number) : kind_(kind), number_(number) {}

  dev_t number() const override { return number_; }
  int ioctl(int fd, unsigned long request, void* argument) override;
  int check_mapping(std::size_t bytes, int flags, std::uint64_t offset, MapTarget& target) override;
  void add_mapping(std::uint64_t offset) override;
  void remove_mapping(std::uint64_t offset) override;
  void closed() override;
  std::mutex& mutex() override { return mutex_; }
  std::shared_ptr<OpenFile> in_child() const override;

 private:
  int drm(unsigned long request, void* argument);
  int misc(unsigned long request, void* argument);
  int action(rknpu_action& action);
  int submit(rknpu_submit& args);
  int create(rknpu_mem_create& create);
  int create_dma_buf(rknpu_mem_create& create);
  int map(rknpu_mem_map& map);
  int destroy(std::uint32_t handle);
  int sync(const rknpu_mem_sync& sync);
  int export_handle(std::uint32_t handle, std::uint32_t flags, int& fd);
  int import_handle(int fd, std::uint32_t& handle);
  std::shared_ptr<RknpuObject> object(std::uint32_t handle);
  std::uint32_t add_handle(std::shared_ptr<RknpuObject> object);

  const Kind kind_;
  const dev_t number_;
  std::mutex mutex_;
  std::map<std::uint32_t, std::shared_ptr<RknpuObject>> handles_;  // card, render
  std::map<std::uint64_t, std::shared_ptr<RknpuObject>> session_;  // misc: by obj_addr
  std::multimap<std::uint64_t, std::shared_ptr<RknpuObject>> mapped_;
  bool unique_known_ = false;  // SET_VERSION gives the device its bus name
};

}  // namespace npu::preload
