// SPDX-License-Identifier: MIT
// The many ways in which programs look for a node and open it.
#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

namespace {

std::vector<std::string> glob_all(const char* pattern, int flags = 0) {
  glob_t found{};
  std::vector<std::string> paths;
  if (glob(pattern, flags, nullptr, &found) == 0)
    paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  return paths;
}

using Paths = std::vector<std::string>;

TEST(Paths, GlobFindsTheNode) {
  EXPECT_EQ(glob_all("/dev/accel/accel*"), Paths{"/dev/accel/accel0"});
  EXPECT_EQ(glob_all("/dev/accel/accel0"), Paths{"/dev/accel/accel0"});
  EXPECT_EQ(glob_all("/dev/acc*/accel[0-9]"), Paths{"/dev/accel/accel0"});
  EXPECT_EQ(glob_all("/sys/class/*/accel*/device/uevent"),
            Paths{"/sys/class/accel/accel0/device/uevent"});
  EXPECT_EQ(glob_all("/dev/accel/accel[1-9]"), Paths{});
  EXPECT_EQ(glob_all("/dev/nul*"), Paths{"/dev/null"});
  glob64_t found{};
  ASSERT_EQ(glob64("/dev/accel/*", 0, nullptr, &found), 0);
  EXPECT_EQ(found.gl_pathc, 1u);
  globfree64(&found);
}

TEST(Paths, ScandirFiltersAndSorts) {
  dirent** list = nullptr;
  const int n = scandir(
      "/dev/accel", &list, [](const dirent* e) { return e->d_name[0] == '.' ? 0 : 1; }, alphasort);
  ASSERT_EQ(n, 1);
  EXPECT_STREQ(list[0]->d_name, "accel0");
  std::free(list[0]);
  std::free(list);
  EXPECT_EQ(scandir("/dev/accel/nothing", &list, nullptr, nullptr), -1);
  EXPECT_EQ(errno, ENOENT);
}

TEST(Paths, DirectoriesOfTheSystemShowItToo) {
  namespace fs = std::filesystem;
  const auto has = [](const char* directory, const char* name) {
    int times = 0;
    for (const auto& entry : fs::directory_iterator(directory))
      times += entry.path().filename() == name;
    return times;
  };
  EXPECT_EQ(has("/dev", "accel"), 1);
  EXPECT_EQ(has("/dev", "null"), 1);
  EXPECT_EQ(has("/sys/class", "accel"), 1);
  EXPECT_TRUE(fs::is_character_file("/dev/accel/accel0"));
  EXPECT_EQ(fs::canonical("/sys/class/accel/accel0/device"), "/sys/devices/platform/rknn");
}

TEST(Paths, PositionsInADirectory) {
  DIR* dir = opendir("/dev/accel");
  ASSERT_NE(dir, nullptr);
  ASSERT_NE(readdir(dir), nullptr);
  ASSERT_NE(readdir(dir), nullptr);
  const long third = telldir(dir);
  const dirent* entry = readdir(dir);
  ASSERT_NE(entry, nullptr);
  EXPECT_STREQ(entry->d_name, "accel0");
  EXPECT_EQ(readdir(dir), nullptr);
  seekdir(dir, third);
  entry = readdir(dir);
  ASSERT_NE(entry, nullptr);
  EXPECT_STREQ(entry->d_name, "accel0");
  rewinddir(dir);
  EXPECT_STREQ(readdir(dir)->d_name, ".");
  EXPECT_EQ(closedir(dir), 0);
}

TEST(Paths, FromADirectorysDescriptor) {
  const int dev = open("/dev", O_RDONLY | O_DIRECTORY);
  ASSERT_GE(dev, 0);
  int fd = openat(dev, "accel/accel0", O_RDWR);
  EXPECT_GE(fd, 0);
  close(fd);
  struct stat st {};
  EXPECT_EQ(fstatat(dev, "accel/accel0", &st, 0), 0);
  EXPECT_EQ(st.st_rdev, makedev(261, 0));
  EXPECT_EQ(faccessat(dev, "accel/accel0", R_OK | W_OK, 0), 0);
  const int accel = openat(dev, "accel", O_RDONLY | O_DIRECTORY);
  ASSERT_GE(accel, 0);
  fd = openat(accel, "./accel0", O_RDWR);
  EXPECT_GE(fd, 0);
  close(fd);
  EXPECT_EQ(openat(accel, "accel1", O_RDWR), -1);
  EXPECT_EQ(errno, ENOENT);
  close(accel);
  close(dev);
  // From where the program is.
  const std::string before = std::filesystem::current_path();
  ASSERT_EQ(chdir("/dev"), 0);
  fd = open("accel/accel0", O_RDWR);
  EXPECT_GE(fd, 0);
  close(fd);
  ASSERT_EQ(chdir("/tmp"), 0);
  EXPECT_EQ(open("accel/accel0", O_RDWR), -1);
  ASSERT_EQ(chdir(before.c_str()), 0);
}

TEST(Paths, LinksByEveryName) {
  char path[256];
  const ssize_t n = readlink("/sys/dev/char/261:0", path, sizeof path);
  ASSERT_GT(n, 0);
  EXPECT_EQ(std::string(path, static_cast<std::size_t>(n)),
            "/sys/devices/platform/rknn/accel/accel0");
  char* canonical = canonicalize_file_name("/sys/bus/platform/devices/fdac0000.npu/driver");
  ASSERT_NE(canonical, nullptr);
  EXPECT_STREQ(canonical, "/sys/bus/platform/drivers/rocket");
  std::free(canonical);
}

TEST(Paths, TheEffectiveUserMayOpenTheNode) {
  EXPECT_EQ(eaccess("/dev/accel/accel0", R_OK | W_OK), 0);
  EXPECT_EQ(euidaccess("/dev/accel/accel0", F_OK), 0);
  EXPECT_EQ(eaccess("/dev/accel/accel0", X_OK), -1);
  EXPECT_EQ(errno, EACCES);
  EXPECT_EQ(eaccess("/dev/accel/accel7", F_OK), -1);
  EXPECT_EQ(errno, ENOENT);
}

TEST(Paths, TheSystemCallWrapper) {
  const long fd = syscall(SYS_openat, AT_FDCWD, "/dev/accel/accel0", O_RDWR | O_CLOEXEC, 0);
  ASSERT_GE(fd, 0);
  struct stat st {};
  ASSERT_EQ(syscall(SYS_fstat, fd, &st), 0);
  EXPECT_TRUE(S_ISCHR(st.st_mode));
  EXPECT_EQ(syscall(SYS_close, fd), 0);
  EXPECT_EQ(syscall(SYS_close, fd), -1);
  EXPECT_EQ(errno, EBADF);
  EXPECT_EQ(syscall(SYS_getpid), getpid());
}

}  // namespace
