// SPDX-License-Identifier: MIT
// Libraries that use the NPU: Mesa's Teflon delegate, TensorFlow Lite, the vendor's runtime.
#include <fmt/format.h>

#include <algorithm>

#include "npu-probe/audit/facts.hpp"

namespace npu::probe {
namespace {

/// Folders with libraries, those of multiarch included.
std::vector<std::string> library_dirs(const Tree& tree) {
  std::vector<std::string> dirs{"/run/opengl-driver/lib", "/run/current-system/sw/lib"};
  for (const std::string base :
       {"/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64", "/lib", "/opt/lib"}) {
    dirs.push_back(base);
    for (const auto& name : tree.list(base, 4096))
      if (name.find("-linux-") != std::string::npos || name == "teflon")
        dirs.push_back(base + "/" + name);
  }
  const auto first_level = dirs;
  for (const auto& dir : first_level)
    if (dir.find("-linux-") != std::string::npos) dirs.push_back(dir + "/teflon");
  return dirs;
}

struct Store {
  std::vector<std::string> names;  ///< nix/store entries that matter
};

Store read_store(const Tree& tree) {
  Store store;
  for (auto& name : tree.list("/nix/store", 1000000)) {
    if (name.ends_with(".drv") || name.size() < 34 || name[32] != '-') continue;
    const auto package = std::string_view(name).substr(33);
    for (const auto part : {"mesa-", "tensorflow-lite", "rknn", "tflite"})
      if (package.find(part) != std::string_view::npos) {
        store.names.push_back(std::move(name));
        break;
      }
  }
  return store;
}

/// First file in the folders whose name starts with `stem`.
std::string find_library(const Tree& tree, const std::vector<std::string>& dirs,
                         const std::string& stem) {
  for (const auto& dir : dirs)
    for (const auto& name : tree.list(dir))
      if (name.starts_with(stem) && tree.exists(dir + "/" + name)) return dir + "/" + name;
  return {};
}

std::optional<Version> store_version(std::string_view path, std::string& evidence) {
  const auto at = path.find("-mesa-");
  if (path.find("/nix/store/") == std::string_view::npos || at == std::string_view::npos)
    return std::nullopt;
  const auto version = parse_version(path.substr(at + 6, 32));
  if (version) evidence = printable(path, 200);
  return version;
}

/// Version of Mesa: the library's own store path, dpkg, or the name of libgallium.
std::optional<Version> mesa_version(const Tree& tree, const std::vector<std::string>& dirs,
                                    const std::string& library, std::string& evidence) {
  const auto link = tree.link_target(library).value_or("");
  if (auto v = store_version(tree.canonical(library).value_or(""), evidence)) return v;
  if (auto v = store_version(link, evidence)) return v;
  const bool packaged = library.find("/local/") == std::string::npos;
  if (packaged) {
    const auto packages = parse_dpkg_status(tree.read("/var/lib/dpkg/status").value_or(""));
    for (const auto name :
         {"mesa-teflon-delegate", "mesa-libgallium", "libgl1-mesa-dri", "libgbm1"})
      if (const auto it = packages.find(name); it != packages.end())
        if (auto v = parse_version(it->second)) {
          evidence = fmt::format("{} {} (var/lib/dpkg/status)", name, it->second);
          return v;
        }
    for (const auto& name : tree.list("/var/lib/pacman/local", 65536))
      if (name.starts_with("mesa-1:") || name.starts_with("mesa-2"))
        if (auto v = parse_version(name.substr(5))) {
          evidence = "var/lib/pacman/local/" + name;
          return v;
        }
  }
  // The library carries its version as a string: "Mesa 25.3.1".
  const auto bytes = tree.read(library).value_or("");
  for (auto at = bytes.find("Mesa "); at != std::string::npos; at = bytes.find("Mesa ", at + 1)) {
    const auto text = std::string_view(bytes).substr(at + 5, 16);
    if (text.empty() || text[0] < '0' || text[0] > '9') continue;
    if (auto v = parse_version(text)) {
      evidence = library + " says so";
      return v;
    }
  }
  for (const auto& dir : dirs)
    for (const auto& name : tree.list(dir))
      if (packaged && name.starts_with("libgallium-"))
        if (auto v = parse_version(std::string_view(name).substr(11))) {
          evidence = dir + "/" + name;
          return v;
        }
  return std::nullopt;
}

void check_mesa(const Tree& tree, const std::vector<std::string>& dirs, const Store& store,
                Checks& checks) {
  constexpr auto id = "mesa-teflon";
  constexpr auto title = "Mesa Teflon";
  auto library = find_library(tree, dirs, "libteflon.so");
  for (const auto& name : store.names) {
    if (!library.empty()) break;
    if (const auto path = "/nix/store/" + name + "/lib/libteflon.so"; tree.exists(path))
      library = path;
  }
  if (library.empty()) {
    // On NixOS the link is there even if the store was not captured with it.
    const std::string link = "/run/opengl-driver/lib/libteflon.so";
    if (tree.link_target(link)) library = link;
  }
  if (library.empty()) {
    checks.add(id, title, State::warn, "no libteflon.so in the library folders",
               "only TensorFlow Lite programs need it: install Mesa 25.3 or later with Teflon "
               "(Debian: mesa-teflon-delegate); npu-probe works without it");
    return;
  }
  std::string evidence;
  const auto version = mesa_version(tree, dirs, library, evidence);
  if (!version)
    checks.add(id, title, State::unknown, library + ", version not found",
               "make sure that it is Mesa 25.3 or later: earlier ones have no rocket driver");
  else
    checks.add(id, title, *version >= Version{25, 3, 0} ? State::ok : State::warn,
               fmt::format("{}, Mesa {}.{}.{} ({})", library, version->major, version->minor,
                           version->patch, evidence),
               *version >= Version{25, 3, 0}
                   ? ""
                   : "rocket came with Mesa 25.3 (\"Couldn't open kernel device\" otherwise): "
                     "upgrade Mesa");
}

void check_tflite(const Tree& tree, const std::vector<std::string>& dirs, const Store& store,
                  Checks& checks) {
  std::string found;
  for (const auto stem : {"libtensorflow-lite.so", "libtensorflowlite.so", "libtensorflowlite_c.so",
                          "libtensorflow-lite.a"})
    if (found.empty()) found = find_library(tree, dirs, stem);
  for (const auto& name : store.names)
    if (found.empty() && (name.find("tensorflow-lite") != std::string::npos ||
                          name.find("tflite") != std::string::npos))
      found = "/nix/store/" + name;
  // Python wheels bring their own copy.
  for (const std::string base : {"/usr/lib/python3", "/usr/local/lib"})
    for (const auto& name : tree.list(base, 256)) {
      const auto dir = base + "/" + name;
      if (!found.empty() || (name != "dist-packages" && !name.starts_with("python3"))) continue;
      for (const auto sub : {"/tflite_runtime", "/ai_edge_litert", "/dist-packages/tflite_runtime",
                             "/dist-packages/ai_edge_litert", "/dist-packages/tensorflow"})
        if (found.empty() && tree.is_directory(dir + sub)) found = dir + sub;
    }
  checks.add(
      "tensorflow-lite", "TensorFlow Lite", found.empty() ? State::warn : State::ok,
      found.empty() ? "no libtensorflow-lite, tflite_runtime or ai_edge_litert" : found,
      found.empty() ? "only TensorFlow Lite programs need it (pip install ai-edge-litert)" : "");
}

void check_vendor_runtime(const Tree& tree, std::vector<std::string> dirs, const Store& store,
                          Checks& checks) {
  std::vector<std::string> found;
  dirs.emplace_back("/usr/lib/rknn");
  dirs.emplace_back("/oem/usr/lib");
  dirs.emplace_back("/vendor/lib64");
  for (const auto stem : {"librknnrt.so", "librknn_api.so", "librkllmrt.so"})
    if (const auto path = find_library(tree, dirs, stem); !path.empty()) found.push_back(path);
  for (const auto& name : store.names)
    if (name.find("rknn") != std::string::npos) found.push_back("/nix/store/" + name);
  checks.add("vendor-runtime", "Vendor runtime", found.empty() ? State::ok : State::warn,
             found.empty() ? "no librknnrt.so" : fmt::format("{}", fmt::join(found, ", ")),
             found.empty() ? ""
                           : "it works only with the vendor's rknpu driver: remove it, so that no "
                             "program picks it by mistake");
}

}  // namespace

void check_userspace(const Facts& facts, std::vector<Check>& all) {
  Checks checks(all, "Libraries");
  if (facts.is_rk3588) {
    const auto dirs = library_dirs(facts.tree);
    const auto store = read_store(facts.tree);
    check_mesa(facts.tree, dirs, store, checks);
    check_tflite(facts.tree, dirs, store, checks);
    check_vendor_runtime(facts.tree, dirs, store, checks);
  }
  checks.add("simulated-device", "Simulated device", State::ok, "part of npu-probe: --device sim",
             "");
}

}  // namespace npu::probe
