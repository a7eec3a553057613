// SPDX-License-Identifier: MIT
// The registers of a core by name: which there are, what they hold, how they are written.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "npu-device/register_access.hpp"
#include "regdb/decoder.hpp"

namespace npu::probe {

/// A register as a core has it in its window.
struct ChipRegister {
  std::string block;  ///< "CNA", "MMU0"
  const regdb::RegisterInfo* info = nullptr;
  std::uint32_t offset = 0;
  std::string unread;  ///< why it is never read; empty: it is
  std::string name() const { return block + "." + std::string(info->name); }
};

/// All registers that are known, in the order of their offsets. With `has_iommu` those of the IOMMU
/// are among them (MMU0 and MMU1 of core 0, MMU of the others).
std::vector<ChipRegister> chip_registers(unsigned core, bool has_iommu);

/// "CNA", "CNA.CONV_CON1" or "CNA.CONV_CON1.in_precision", upper or lower case.
struct RegisterSelection {
  std::vector<ChipRegister> registers;
  const regdb::FieldInfo* field = nullptr;  ///< of the only register
};

/// Throws invalid_argument with what there is instead.
RegisterSelection select_registers(const std::vector<ChipRegister>& all, std::string_view text);

/// Which register group is read.
enum class Group { cpu, last, first, second };  // as a plain read, of the last task, 0, 1

struct RegisterValue {
  ChipRegister reg;
  std::uint32_t value = 0;
  std::optional<unsigned> group;  ///< of registers that exist twice
};

/// Reads what can be read.
std::vector<RegisterValue> read_registers(device::RegisterAccess& access, unsigned core,
                                          const std::vector<ChipRegister>& registers, Group group);

/// "DPU.DATA_CUBE_WIDTH = 0x0000000d  width=14", as `decode` prints it.
std::string to_text(const RegisterValue& value);
/// {"block","register","offset","value","group","fields":{...}}
nlohmann::json to_json(const RegisterValue& value);

/// Values of an earlier `regs dump --json`, by "BLOCK.REGISTER". Throws bad_file, naming `file`.
std::map<std::string, std::uint32_t> parse_dump(std::string_view text, const std::string& file);

/// One field that differs.
struct FieldChange {
  std::string field, before, after;
};
std::vector<FieldChange> changed_fields(const ChipRegister& reg, std::uint32_t before,
                                        std::uint32_t after);

/// "BLOCK.REG=VALUE" or "BLOCK.REG.FIELD=VALUE": a number, or the name of an enum's value; a field
/// takes its own terms (counts, signed numbers, addresses), as `decode` prints them.
struct RegisterWrite {
  ChipRegister reg;
  const regdb::FieldInfo* field = nullptr;
  std::uint32_t bits = 0;  ///< of the field, or the whole register
  /// The register's new value.
  std::uint32_t merge(std::uint32_t before) const;
};
/// Throws invalid_argument: no such name, read-only, out of range.
RegisterWrite parse_write(const std::vector<ChipRegister>& all, const std::string& text);

/// Why the range that locks the chip is not among the registers: for people.
inline constexpr std::string_view kLockedRange =
    "0x2000 to 0x2fff of a core is never read: on a board that locks the chip until it is powered "
    "off";

}  // namespace npu::probe
