// SPDX-License-Identifier: MIT
// Pictures of a report as SVG elements for a page that has their styles (bench_html.cpp).
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "npu-probe/bench.hpp"

namespace npu::probe {

/// For text and attribute values; bytes that are no UTF-8 become question marks.
std::string html_escaped(std::string_view text);

/// Products per byte against products per second, both logarithmic, with the ceilings of array and
/// memory. Empty if no row has both a roof and products.
std::string roofline_svg(const BenchReport& report);

/// A bar per row: where its time goes, and how much of it the roof would take.
std::string bars_svg(std::span<const BenchRow* const> rows);

/// Class of a cause in bars and legend: "c-mac-array".
std::string cause_class(std::string_view cause);

}  // namespace npu::probe
