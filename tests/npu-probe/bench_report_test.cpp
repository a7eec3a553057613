// SPDX-License-Identifier: MIT
// What the writers print can be read back, whatever the names hold.
#include <gtest/gtest.h>

#include <cctype>
#include <map>
#include <nlohmann/json.hpp>

#include "bench_fixture.hpp"
#include "npu-probe/bench_compare.hpp"
#include "npu-probe/bench_plot.hpp"
#include "regdb/error.hpp"

namespace npu::probe::test {
namespace {

TEST(BenchReport, JsonComesBackAsItWas) {
  const BenchReport report = hostile_report();
  const std::string json = to_json(report);
  const BenchReport again = parse_bench_report(json, "again");
  EXPECT_EQ(to_json(again), json);
  ASSERT_EQ(again.rows.size(), report.rows.size());
  EXPECT_NEAR(again.rows[0].time.median, report.rows[0].time.median, 1e-15);
  EXPECT_EQ(again.rows[0].model.bytes, report.rows[0].model.bytes);
  EXPECT_EQ(again.rows[2].error, report.rows[2].error);
  EXPECT_EQ(again.clock_mhz, 600);
  BenchReport unknown = report;
  unknown.clock_mhz = 0;
  EXPECT_TRUE(nlohmann::json::parse(to_json(unknown))["clock_mhz"].is_null());
  EXPECT_EQ(parse_bench_report(to_json(unknown), "x").clock_mhz, 0);
}

TEST(BenchReport, EveryFigureSaysWhereItComesFrom) {
  const auto json = nlohmann::json::parse(to_json(hostile_report()));
  EXPECT_EQ(json["provenance"], "modelled");
  const auto& row = json["rows"][0];
  EXPECT_EQ(row["provenance"], "modelled");
  EXPECT_EQ(row["time_us"]["provenance"], "modelled");
  EXPECT_EQ(row["host_us"]["provenance"], "host");
  EXPECT_EQ(row["prepare_us"]["provenance"], "host");
  EXPECT_EQ(row["model"]["provenance"], "modelled");
  EXPECT_DOUBLE_EQ(row["macs_per_second"].get<double>(), 1e9);
  EXPECT_DOUBLE_EQ(row["roof"]["share"].get<double>(), 0.25);
}

TEST(BenchReport, CsvHasAsManyCellsInEveryLine) {
  const auto lines = parse_csv(to_csv(hostile_report()));
  ASSERT_EQ(lines.size(), 4u);
  for (const auto& line : lines) EXPECT_EQ(line.size(), lines[0].size());
  std::map<std::string, std::size_t> column;
  for (std::size_t i = 0; i < lines[0].size(); ++i) column[lines[0][i]] = i;
  EXPECT_EQ(lines[1][column.at("name")], hostile_report().rows[0].name);
  EXPECT_EQ(lines[1][column.at("time_us")], "1000.000");
  EXPECT_EQ(lines[1][column.at("host_us")], "250.000");
  EXPECT_EQ(lines[3][column.at("error")], hostile_report().rows[2].error);
  EXPECT_EQ(lines[3][column.at("time_us")], "");
}

TEST(BenchReport, MarkdownRowsHaveAsManyCellsAsTheirHeader) {
  const std::string text = to_markdown(hostile_report());
  std::istringstream in(text);
  std::size_t header = 0, rows = 0;
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line[0] != '|') {
      header = 0;
      continue;
    }
    std::size_t bars = 0;
    for (std::size_t i = 0; i < line.size(); ++i)
      bars += line[i] == '|' && (i == 0 || line[i - 1] != '\\');
    if (header == 0) header = bars;
    EXPECT_EQ(bars, header) << line;
    ++rows;
  }
  EXPECT_EQ(rows, 2u + 2u + 2u + 1u);  // gemm: header, rule, two rows; conv: one
  EXPECT_NE(text.find("times are modelled"), std::string::npos);
  EXPECT_NE(text.find("600 MHz"), std::string::npos);
  EXPECT_NE(text.find("test constants"), std::string::npos);
  EXPECT_NE(text.find("not run"), std::string::npos);
}

TEST(BenchReport, HtmlIsWellFormedAndNeedsNothingFromElsewhere) {
  const std::string html = to_html(hostile_report());
  EXPECT_EQ(html_complaint(html), "");
  for (const char* outside : {"http:", "https:", "//", "src=", "href=", "url(", "@import",
                              "<script>", "<img", "<link", "<iframe"})
    EXPECT_EQ(html.find(outside), std::string::npos) << outside;
  EXPECT_NE(html.find("prefers-color-scheme: dark"), std::string::npos);
  EXPECT_NE(html.find("&lt;script&gt;"), std::string::npos);  // the name of a row
  EXPECT_NE(html.find("class=\"dot "), std::string::npos);
  EXPECT_NE(html.find("class=\"roof\""), std::string::npos);
  EXPECT_NE(html.find("class=\"c-mac"), std::string::npos);
}

TEST(BenchReport, HtmlOfNothingIsStillAPage) {
  BenchReport report = hostile_report();
  report.rows.clear();
  EXPECT_EQ(html_complaint(to_html(report)), "");
  report = hostile_report();
  report.clock_mhz = 0;  // no clock: no roof
  for (BenchRow& row : report.rows) row.roof.reset();
  EXPECT_EQ(html_complaint(to_html(report)), "");
  EXPECT_EQ(roofline_svg(report), "");
}

TEST(BenchReport, EscapesWhatIsNoUtf8) {
  EXPECT_EQ(html_escaped("a<b>&\"'"), "a&lt;b&gt;&amp;&quot;&#39;");
  EXPECT_EQ(html_escaped("gr\xC3\xBC\xC3\x9F"), "gr\xC3\xBC\xC3\x9F");
  EXPECT_EQ(html_escaped("\xFF\xC3"), "??");
  EXPECT_EQ(html_escaped(std::string("a\0b", 3)), "a b");
}

std::string complaint(const std::string& json) {
  try {
    (void)parse_bench_report(json, "old.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_file);
    return error.what();
  }
  return "accepted";
}

TEST(BenchReport, ABrokenReportIsRefusedWithThePath) {
  using nlohmann::json;
  const json good = json::parse(to_json(hostile_report()));
  const std::string advice = "; it wants a report of npu-probe bench --json";
  json bad = good;
  bad.erase("rows");
  EXPECT_EQ(complaint(bad.dump()), "old.json: rows has to be there" + advice);
  bad = good;
  bad["rows"][1]["time_us"]["median"] = "fast";
  EXPECT_EQ(complaint(bad.dump()), "old.json: rows[1].time_us.median has to be a number" + advice);
  bad = good;
  bad["rows"][0]["op"] = "sort";
  EXPECT_EQ(complaint(bad.dump()),
            "old.json: rows[0].op has to be an operator of npu-probe bench" + advice);
  bad = good;
  bad["rows"][0]["time_us"]["median"] = -1;
  EXPECT_EQ(complaint(bad.dump()),
            "old.json: rows[0].time_us.median has to be a number that is not below 0" + advice);
  EXPECT_EQ(complaint("[]"), "old.json: the report has to be an object" + advice);
  EXPECT_EQ(complaint("{").substr(0, 22), "old.json: is no JSON: ");
}

TEST(BenchCompare, FindsTheSlowerRowAndOnlyThat) {
  const BenchReport before = hostile_report();
  BenchReport after = before;
  after.rows[0].time.median = before.rows[0].time.median * 1.2;
  after.rows[1].time.median = before.rows[1].time.median / 2;
  const BenchComparison ten = compare_reports(before, after, 0.10);
  ASSERT_EQ(ten.pairs.size(), 2u);  // the third did not run
  EXPECT_TRUE(ten.pairs[0].slower);
  EXPECT_FALSE(ten.pairs[1].slower);
  EXPECT_NEAR(ten.pairs[0].ratio, 1 / 1.2, 1e-12);
  EXPECT_NEAR(ten.pairs[1].ratio, 2, 1e-12);
  EXPECT_EQ(ten.slower, 1u);
  EXPECT_NEAR(ten.geometric_mean, std::sqrt(2 / 1.2), 1e-12);
  EXPECT_EQ(compare_reports(before, after, 0.25).slower, 0u);
  EXPECT_EQ(nlohmann::json::parse(to_json(ten))["slower"], 1);
  EXPECT_NE(to_markdown(ten).find("slower by more than 10 %"), std::string::npos);
}

TEST(BenchCompare, DifferentKindsOfFiguresAreNotCompared) {
  const BenchReport before = hostile_report();
  BenchReport after = before;
  after.provenance = "measured";
  EXPECT_THROW((void)compare_reports(before, after, 0.1), Error);
  after = before;
  for (BenchRow& row : after.rows) row.cores = 3;
  EXPECT_THROW((void)compare_reports(before, after, 0.1), Error);  // nothing in common
  after = before;
  after.clock_mhz = 1000;
  after.rows.erase(after.rows.begin());
  const BenchComparison c = compare_reports(before, after, 0.1);
  EXPECT_EQ(c.only_before.size(), 1u);
  ASSERT_EQ(c.notes.size(), 1u);
  EXPECT_EQ(c.notes[0], "NPU clock in MHz: 600 then, 1000 now");
}

TEST(BenchCompare, EqualRowsGoTogetherInOrder) {
  BenchReport before = hostile_report();
  before.rows = {before.rows[0], before.rows[0]};
  before.rows[1].time.median *= 3;
  const BenchComparison c = compare_reports(before, before, 0.1);
  ASSERT_EQ(c.pairs.size(), 2u);
  EXPECT_EQ(c.pairs[0].ratio, 1);
  EXPECT_EQ(c.pairs[1].ratio, 1);
}

}  // namespace
}  // namespace npu::probe::test
