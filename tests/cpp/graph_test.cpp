#include "core/graph.h"

#include <gtest/gtest.h>

namespace fastsa {
namespace {

std::string why_refused(std::vector<Bytes> bytes, std::vector<Op> ops,
                        std::vector<ValueId> outputs = {}) {
  try {
    const Graph graph({0, 0}, std::move(bytes), std::move(ops), std::move(outputs));
    return "";
  } catch (const BadRequest& refusal) {
    return refusal.what();
  }
}

TEST(Graph, KnowsItsWiring) {
  const Graph graph({0, 0}, {1, 2, 3}, {{1, 0, 0, true, {0}, {1}}, {2, 5, 1, false, {0, 1}, {2}}},
                    {0, 2});
  EXPECT_EQ(graph.producer(0), kNoOp);
  EXPECT_EQ(graph.producer(2), 1);
  EXPECT_EQ(graph.inputs(1).size(), 1U) << "inputs of the step are left out";
  EXPECT_FALSE(graph.is_output(0)) << "an input of the step is resident, output or not";
  EXPECT_TRUE(graph.is_output(2));
  EXPECT_EQ(graph.base_order().segment_starts, (std::vector<Position>{0, 1}));
}

TEST(Graph, RefusesNonsenseWithItsPlace) {
  EXPECT_EQ(why_refused({-1}, {}), "value 0: negative bytes");
  EXPECT_NE(why_refused({1}, {{-1, 0, 0, true, {}, {0}}}).find("op 0"), std::string::npos);
  EXPECT_NE(why_refused({1}, {{1, 0, 2, true, {}, {0}}}).find("no segment 2"), std::string::npos);
  EXPECT_NE(why_refused({1}, {{1, 0, 0, true, {7}, {}}}).find("no value 7"), std::string::npos);
  EXPECT_NE(why_refused({1}, {{1, 0, 0, true, {0}, {0}}}).find("later"), std::string::npos);
  EXPECT_NE(why_refused({1}, {{1, 0, 0, true, {0, 0}, {}}}).find("twice"), std::string::npos);
  EXPECT_NE(why_refused({1}, {{1, 0, 1, true, {}, {}}, {1, 0, 0, true, {}, {}}}).find("sorted"),
            std::string::npos);
  EXPECT_NE(why_refused({kMostBytes, 1}, {}).find("2^60"), std::string::npos);
}

}  // namespace
}  // namespace fastsa
