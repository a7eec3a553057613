// SPDX-License-Identifier: MIT
#include "npu-sim/calibration.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "regdb/error.hpp"

namespace npu::sim {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

json defaults() { return json::parse(to_json(default_calibration())); }

std::string message(const std::string& text) {
  try {
    parse_calibration(text, "c.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_file);
    return error.what();
  }
  return "accepted";
}

TEST(Calibration, EveryConstantSaysWhereItComesFrom) {
  const CalibrationFile& file = default_calibration();
  EXPECT_GE(file.notes.size(), 30u);
  for (const ConstantNote& note : file.notes) {
    EXPECT_FALSE(note.unit.empty()) << note.name;
    EXPECT_FALSE(note.source.empty()) << note.name;
    EXPECT_EQ(note.origin == "fitted", !note.fitted_on.empty()) << note.name;
  }
}

TEST(Calibration, RoundTrip) {
  const std::string text = to_json(default_calibration());
  const CalibrationFile again = parse_calibration(text, "again");
  EXPECT_EQ(to_json(again), text);
  EXPECT_EQ(again.values.mac_int8, 1024);
  EXPECT_EQ(again.values.cbuf_banks, 12);
}

TEST(Calibration, AChangedConstantIsTaken) {
  json file = defaults();
  file["constants"]["iommu_us"]["value"] = 3.25;
  EXPECT_EQ(parse_calibration(file.dump(), "c.json").values.iommu_us, 3.25);
}

TEST(Calibration, SlipsAreNamed) {
  EXPECT_THAT(message("{"), HasSubstr("not a JSON object"));
  EXPECT_THAT(message("[]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(message("{}"), HasSubstr("constants"));
  const auto changed = [](auto change) {
    json file = defaults();
    change(file["constants"]);
    return message(file.dump());
  };
  EXPECT_THAT(changed([](json& c) { c.erase("mac_int8"); }), HasSubstr("mac_int8 is missing"));
  EXPECT_THAT(changed([](json& c) { c["mac_int9"] = c["mac_int8"]; }),
              HasSubstr("unknown constant mac_int9"));
  EXPECT_THAT(changed([](json& c) { c["mac_int8"] = 1024; }), HasSubstr("not an object"));
  EXPECT_THAT(changed([](json& c) { c["mac_int8"]["value"] = "1024"; }),
              HasSubstr("numeric \"value\""));
  EXPECT_THAT(changed([](json& c) { c["mac_int8"]["value"] = 0; }), HasSubstr("not between"));
  EXPECT_THAT(changed([](json& c) { c["iommu_us"]["value"] = -1; }), HasSubstr("not between"));
  EXPECT_THAT(changed([](json& c) { c["iommu_us"]["unit"] = "ms"; }), HasSubstr("must be \"us\""));
  EXPECT_THAT(changed([](json& c) { c["iommu_us"]["origin"] = "guess"; }), HasSubstr("origin"));
  EXPECT_THAT(changed([](json& c) { c["iommu_us"].erase("source"); }), HasSubstr("no source"));
  EXPECT_THAT(changed([](json& c) { c["iommu_us"]["source"] = 7; }), HasSubstr("not a string"));
  EXPECT_THAT(changed([](json& c) { c["iommu_us"]["fitted_on"] = "x"; }), HasSubstr("fitted_on"));
  EXPECT_THAT(changed([](json& c) { c["host_read_ns"].erase("fitted_on"); }),
              HasSubstr("fitted_on"));
}

TEST(Calibration, AMissingFileIsABadFile) {
  try {
    load_calibration("/nonexistent/calibration.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_file);
  }
}

}  // namespace
}  // namespace npu::sim
