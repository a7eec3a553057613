// SPDX-License-Identifier: MIT
#include "npu-probe/bench_plot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <set>

#include "npu-probe/bench_table.hpp"

namespace npu::probe {
namespace {

constexpr double kWidth = 900, kHeight = 480;
constexpr double kLeft = 70, kRight = 20, kTop = 16, kBottom = 48;

// A logarithmic axis from 10^low to 10^high onto pixels.
struct Axis {
  int low, high;
  double from, to;
  double at(double value) const {
    const double part = (std::log10(value) - low) / (high - low);
    return from + std::clamp(part, 0.0, 1.0) * (to - from);
  }
};

Axis axis_over(double least, double most, double from, double to) {
  const int low = static_cast<int>(std::floor(std::log10(least)));
  return {low, std::max(low + 1, static_cast<int>(std::ceil(std::log10(most)))), from, to};
}

std::string power(int exponent) {
  if (exponent >= 0 && exponent <= 5) return fmt::format("{:.0f}", std::pow(10.0, exponent));
  if (exponent >= -3 && exponent < 0) return fmt::format("{:g}", std::pow(10.0, exponent));
  return fmt::format("1e{}", exponent);
}

// Inside 900 x 480, a point by its row's cores.
std::string mark(double x, double y, unsigned cores, const std::string& kind,
                 const std::string& title) {
  std::string shape;
  if (cores == 1)
    shape = fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\"", x, y);
  else if (cores == 2)
    shape =
        fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"9\" height=\"9\"", x - 4.5, y - 4.5);
  else
    shape = fmt::format("<path d=\"M{:.1f} {:.1f}l6 10h-12z\"", x, y - 6);
  return fmt::format("{} class=\"dot {}\"><title>{}</title></{}>\n", shape, kind,
                     html_escaped(title),
                     cores == 1   ? "circle"
                     : cores == 2 ? "rect"
                                  : "path");
}

// Neither nothing nor beyond any machine: a report from a file may say anything.
bool drawable(double value) { return value > 1e-9 && value < 1e24; }

std::string type_class(const std::string& dtype) {
  const std::string in = dtype.substr(0, dtype.find("->"));
  for (const char* known : {"i4", "i8", "i16", "f16", "bf16", "tf32"})
    if (in == known) return std::string("t-") + known;
  return "t-other";
}

std::string row_title(const BenchRow& r) {
  std::string text = std::string(to_string(r.op)) + " ";
  if (!r.name.empty()) text += r.name + " ";
  return text + fmt::format("{} {}, {} core{}", r.shape, r.dtype, r.cores, r.cores == 1 ? "" : "s");
}

void grid(std::string& out, const Axis& x, const Axis& y) {
  for (int e = x.low; e <= x.high; ++e) {
    const double at = x.at(std::pow(10.0, e));
    out += fmt::format(
        "<line class=\"grid\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\"/>"
        "<text class=\"tick\" x=\"{0:.1f}\" y=\"{3}\" text-anchor=\"middle\">{4}"
        "</text>\n",
        at, kTop, kHeight - kBottom, kHeight - kBottom + 18, power(e));
  }
  for (int e = y.low; e <= y.high; ++e) {
    const double at = y.at(std::pow(10.0, e));
    out += fmt::format(
        "<line class=\"grid\" y1=\"{0:.1f}\" y2=\"{0:.1f}\" x1=\"{1}\" x2=\"{2}\"/>"
        "<text class=\"tick\" x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5}"
        "</text>\n",
        at, kLeft, kWidth - kRight, kLeft - 8, at + 4, power(e));
  }
  out += fmt::format(
      "<text class=\"axis\" x=\"{:.0f}\" y=\"{:.0f}\" text-anchor=\"middle\">"
      "products per byte that has to move</text>\n",
      (kLeft + kWidth - kRight) / 2, kHeight - 8);
  out += fmt::format(
      "<text class=\"axis\" transform=\"translate(16 {:.0f}) rotate(-90)\" "
      "text-anchor=\"middle\">GMAC/s</text>\n",
      (kTop + kHeight - kBottom) / 2);
}

// y = bandwidth * x, as far as it lies in the picture; the label stands at `part` of the line, so
// that those of lines close to each other do not cover one another.
void slope(std::string& out, const Axis& x, const Axis& y, double bandwidth,
           const std::string& label, double part) {
  const double least = std::max(std::pow(10.0, x.low), std::pow(10.0, y.low) / bandwidth);
  const double most = std::min(std::pow(10.0, x.high), std::pow(10.0, y.high) / bandwidth);
  if (!(least < most)) return;
  out += fmt::format(
      "<line class=\"roof\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\">"
      "<title>{}</title></line>\n",
      x.at(least), y.at(least * bandwidth), x.at(most), y.at(most * bandwidth),
      html_escaped(label));
  const double middle = std::pow(10.0, (1 - part) * std::log10(least) + part * std::log10(most));
  out +=
      fmt::format("<text class=\"label\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n",
                  x.at(middle) - 6, y.at(middle * bandwidth), html_escaped(label));
}

}  // namespace

std::string html_escaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x80) {
      const std::size_t length = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC2 ? 2 : 0;
      bool whole = length != 0 && c < 0xF5 && i + length <= text.size();
      for (std::size_t k = 1; whole && k < length; ++k)
        whole = (static_cast<unsigned char>(text[i + k]) & 0xC0) == 0x80;
      if (!whole) {
        out += '?';
        continue;
      }
      out += text.substr(i, length);
      i += length - 1;
      continue;
    }
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c < ' ' && c != '\n' ? ' ' : static_cast<char>(c);
    }
  }
  return out;
}

std::string cause_class(std::string_view cause) {
  std::string name = "c-";
  for (const char c : cause)
    name += c == ' ' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

std::string roofline_svg(const BenchReport& report) {
  std::vector<const BenchRow*> rows;
  double least_x = 1, most_x = 10, least_y = 1e9, most_y = 0;
  std::map<std::pair<std::string, unsigned>, double> peaks;
  std::set<unsigned> cores;
  for (const BenchRow& r : report.rows) {
    if (!r.error.empty() || !r.roof || !drawable(r.roof->peak_macs) ||
        !drawable(macs_per_second(r)) || !drawable(r.roof->intensity))
      continue;
    rows.push_back(&r);
    least_x = std::min(least_x, r.roof->intensity);
    most_x = std::max(most_x, r.roof->intensity);
    least_y = std::min(least_y, macs_per_second(r) * 1e-9);
    most_y = std::max(most_y, r.roof->peak_macs * 1e-9);
    const std::string in = r.dtype.substr(0, r.dtype.find("->"));
    peaks[{r.op == BenchOp::dw ? in + " depthwise" : in, r.cores}] = r.roof->peak_macs * 1e-9;
    cores.insert(r.cores);
  }
  if (rows.empty()) return "";
  const Axis x = axis_over(least_x, most_x, kLeft, kWidth - kRight);
  const Axis y = axis_over(least_y, most_y, kHeight - kBottom, kTop);
  std::string out = fmt::format(
      "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Roofline: products per second against "
      "products per byte\">\n",
      kWidth, kHeight);
  grid(out, x, y);
  const double dram = report.dram_bytes_per_second * 1e-9;
  if (dram > 0) slope(out, x, y, dram, fmt::format("memory {:.1f} GB/s", dram), 0.2);
  for (const unsigned n : cores) {
    const double port = report.port_bytes_per_cycle * report.clock_mhz * 1e-3 * n;
    if (port > 0 && port < dram)
      slope(out, x, y, port,
            fmt::format("read port{} {:.1f} GB/s", n == 1 ? "" : "s of " + std::to_string(n), port),
            0.2 + 0.1 * n);
  }
  // int8 on one core and fp16 on two have the same peak: one line with both names.
  std::map<long, std::pair<double, std::string>> lines;
  for (const auto& [key, peak] : peaks) {
    auto& [value, label] = lines[std::lround(std::log10(peak) * 100)];
    value = peak;
    label += fmt::format("{}{} x{}", label.empty() ? "" : ", ", key.first, key.second);
  }
  for (auto& [place, line] : lines) {
    auto& [peak, label] = line;
    label += fmt::format(": {:.0f} GMAC/s", peak);
    out += fmt::format(
        "<line class=\"roof\" x1=\"{0:.1f}\" x2=\"{1:.1f}\" y1=\"{2:.1f}\" "
        "y2=\"{2:.1f}\"><title>{3}</title></line>"
        "<text class=\"label\" x=\"{4:.1f}\" y=\"{5:.1f}\" text-anchor=\"end\">{3}"
        "</text>\n",
        kLeft, kWidth - kRight, y.at(peak), html_escaped(label), kWidth - kRight - 4,
        y.at(peak) - 4);
  }
  for (const BenchRow* r : rows)
    out += mark(x.at(r->roof->intensity), y.at(macs_per_second(*r) * 1e-9), r->cores,
                type_class(r->dtype),
                fmt::format("{}: {:.1f} GMAC/s, {:.1f} % of the roof ({})", row_title(*r),
                            macs_per_second(*r) * 1e-9, roof_share(*r) * 100, r->roof->bound));
  return out + "</svg>\n";
}

std::string bars_svg(std::span<const BenchRow* const> rows) {
  constexpr double kBar = 18, kStep = 24, kName = 330, kBars = 430;
  const double height = kStep * static_cast<double>(rows.size()) + 4;
  std::string out = fmt::format(
      "<svg viewBox=\"0 0 {} {:.0f}\" role=\"img\" aria-label=\"Where the time of each row "
      "goes\">\n",
      kWidth, height);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const BenchRow& r = *rows[i];
    const double top = kStep * static_cast<double>(i) + 2;
    std::string label = r.name.empty() ? r.shape : r.name + " " + r.shape;
    if (r.op != BenchOp::submit) label += " " + r.dtype;
    label += fmt::format(" x{}", r.cores);
    out += fmt::format("<text class=\"name\" x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n",
                       kName - 8, top + 13, html_escaped(label));
    if (!r.error.empty()) {
      out += fmt::format(
          "<text class=\"tick\" x=\"{}\" y=\"{:.1f}\">not run<title>{}</title></text>\n", kName,
          top + 13, html_escaped(r.error));
      continue;
    }
    double at = kName;
    for (const auto& [cause, share] : r.model.shares) {
      const double wide = std::clamp(share, 0.0, 1.0) * kBars;
      out += fmt::format(
          "<rect class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" "
          "height=\"{}\"><title>{}: {} {:.0f} %</title></rect>\n",
          cause_class(cause), at, top, wide, kBar, html_escaped(row_title(r)), html_escaped(cause),
          share * 100);
      at += wide;
    }
    if (r.roof) {
      const double share = std::clamp(roof_share(r), 0.0, 1.0) * kBars + kName;
      out += fmt::format(
          "<line class=\"mark\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.1f}\" "
          "y2=\"{2:.1f}\"><title>the roof ({3}): {4:.1f} %</title></line>\n",
          share, top - 2, top + kBar + 2, html_escaped(r.roof->bound), roof_share(r) * 100);
    }
    out += fmt::format("<text class=\"tick\" x=\"{}\" y=\"{:.1f}\">{:.1f} us</text>\n",
                       kName + kBars + 8, top + 13, r.time.median * 1e6);
  }
  return out + "</svg>\n";
}

}  // namespace npu::probe
