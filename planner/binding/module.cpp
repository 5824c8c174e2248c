// The Python module fastsa.planner._core: converts, nothing else.
#include <pybind11/functional.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "core/just_in_time.h"
#include "core/solve.h"

#ifndef FASTSA_SANITIZED
#define FASTSA_SANITIZED 0
#endif

namespace py = pybind11;

namespace fastsa {
namespace {

using OpTuple =
    std::tuple<double, Bytes, SegmentId, bool, std::vector<ValueId>, std::vector<ValueId>>;

Graph make_graph(std::vector<RegionId> regions, std::vector<Bytes> value_bytes,
                 std::vector<OpTuple> ops, std::vector<ValueId> outputs) {
  std::vector<Op> made;
  made.reserve(ops.size());
  for (auto& [seconds, workspace, segment, recomputable, inputs, op_outputs] : ops) {
    made.push_back(
        {seconds, workspace, segment, recomputable, std::move(inputs), std::move(op_outputs)});
  }
  return Graph(std::move(regions), std::move(value_bytes), std::move(made), std::move(outputs));
}

// Returns whether to go on; what it raises ends the search.
using PythonMonitor = std::function<bool(const Progress&)>;

Answer solve_without_gil(const Graph& graph, const Request& request, const PythonMonitor& monitor) {
  const Monitor with_gil = [&monitor](const Progress& progress) {
    const py::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    return !monitor || monitor(progress);
  };
  const py::gil_scoped_release release;
  return solve(graph, request, with_gil);
}

Answer solve_request(const Graph& graph, Bytes budget, Algorithm algorithm,
                     std::optional<double> time_limit, std::optional<std::int64_t> iterations,
                     std::uint64_t seed, int threads, std::optional<Order> warm_start,
                     const PythonMonitor& monitor) {
  Request request;
  request.budget = budget;
  request.algorithm = algorithm;
  if (time_limit) request.effort.seconds = *time_limit;
  if (iterations) request.effort.iterations = *iterations;
  request.seed = seed;
  request.threads = threads;
  request.warm_start = std::move(warm_start);
  return solve_without_gil(graph, request, monitor);
}

Order just_in_time_without(const Graph& graph, const std::vector<ValueId>& dropped) {
  std::vector<char> flags(static_cast<std::size_t>(graph.values()), 0);
  for (ValueId value : dropped) {
    if (value < 0 || value >= graph.values()) {
      throw BadRequest("there is no value " + std::to_string(value));
    }
    flags[value] = graph.producer(value) != kNoOp;
  }
  return just_in_time(graph, flags);
}

Footprint simulate_legal(const Graph& graph, const Order& order) {
  const Verdict verdict = validate(graph, order);
  if (!verdict.ok()) {
    throw BadRequest("position " + std::to_string(verdict.position) + ": " +
                     describe(verdict.reason));
  }
  return simulate(graph, order.sequence);
}

void bind_types(py::module_& module) {
  py::enum_<Algorithm>(module, "Algorithm")
      .value("PAPER", Algorithm::kPaper)
      .value("PORTFOLIO", Algorithm::kPortfolio);
  py::enum_<Status>(module, "Status")
      .value("OPTIMAL", Status::kOptimal)
      .value("FEASIBLE", Status::kFeasible)
      .value("NOT_FOUND", Status::kNotFound)
      .value("INFEASIBLE", Status::kInfeasible);
  py::class_<Order>(module, "Order")
      .def(py::init<std::vector<OpId>, std::vector<Position>>(), py::arg("sequence"),
           py::arg("segment_starts"))
      .def_readonly("sequence", &Order::sequence)
      .def_readonly("segment_starts", &Order::segment_starts);
  py::class_<Graph>(module, "Graph")
      .def(py::init(&make_graph), py::arg("segment_regions"), py::arg("value_bytes"),
           py::arg("ops"), py::arg("outputs"))
      .def("base_order", &Graph::base_order);
  py::class_<Footprint>(module, "Footprint")
      .def_readonly("peak", &Footprint::peak)
      .def_readonly("seconds", &Footprint::seconds)
      .def_readonly("peak_position", &Footprint::peak_position);
}

void bind_answers(py::module_& module) {
  py::class_<Claim>(module, "Claim")
      .def(py::init<Status, Bytes, Bytes, Seconds, Bytes, Seconds, Seconds, Bytes>(),
           py::arg("status"), py::arg("budget"), py::arg("peak"), py::arg("seconds"),
           py::arg("base_peak"), py::arg("base_seconds"), py::arg("lower_bound"),
           py::arg("minimum_budget"))
      .def_readonly("status", &Claim::status)
      .def_readonly("budget", &Claim::budget)
      .def_readonly("peak", &Claim::peak)
      .def_readonly("seconds", &Claim::seconds)
      .def_readonly("base_peak", &Claim::base_peak)
      .def_readonly("base_seconds", &Claim::base_seconds)
      .def_readonly("lower_bound", &Claim::lower_bound)
      .def_readonly("minimum_budget", &Claim::minimum_budget);
  py::class_<Progress>(module, "Progress")
      .def_readonly("fits", &Progress::fits)
      .def_readonly("peak", &Progress::peak)
      .def_readonly("seconds", &Progress::seconds)
      .def_readonly("iterations", &Progress::iterations)
      .def_readonly("elapsed", &Progress::elapsed)
      .def_readonly("fraction", &Progress::fraction);
  py::class_<Answer>(module, "Answer")
      .def_readonly("order", &Answer::order)
      .def_readonly("claim", &Answer::claim)
      .def_property_readonly("minimum_budget_op", [](const Answer& a) { return a.minimum.op; })
      .def_property_readonly("lower_bound_assumes", [](const Answer& a) { return a.bound.assumes; })
      .def_readonly("iterations", &Answer::iterations)
      .def_readonly("elapsed", &Answer::elapsed);
  py::class_<Verdict>(module, "Verdict")
      .def_property_readonly("ok", &Verdict::ok)
      .def_property_readonly("reason", [](const Verdict& v) { return name(v.reason); })
      .def_property_readonly("message", [](const Verdict& v) { return describe(v.reason); })
      .def_readonly("position", &Verdict::position);
}

}  // namespace
}  // namespace fastsa

PYBIND11_MODULE(_core, module, py::mod_gil_not_used()) {
  using namespace fastsa;
  module.doc() = "The planner's native core.";
  module.attr("sanitized") = static_cast<bool>(FASTSA_SANITIZED);
  py::register_exception<BadRequest>(module, "BadRequest", PyExc_ValueError);
  bind_types(module);
  bind_answers(module);
  module.def("solve", &solve_request, py::arg("graph"), py::arg("budget"), py::kw_only(),
             py::arg("algorithm"), py::arg("time_limit"), py::arg("iterations"), py::arg("seed"),
             py::arg("threads"), py::arg("warm_start"), py::arg("monitor"));
  module.def("certify", &certify, py::arg("graph"), py::arg("order"), py::arg("budget"),
             py::arg("time_limit"), py::call_guard<py::gil_scoped_release>());
  module.def("just_in_time", &just_in_time_without, py::arg("graph"), py::arg("dropped"));
  module.def("validate", py::overload_cast<const Graph&, const Order&, const Claim&>(&validate),
             py::arg("graph"), py::arg("order"), py::arg("claim"));
  module.def("validate_order", py::overload_cast<const Graph&, const Order&>(&validate),
             py::arg("graph"), py::arg("order"));
  module.def("simulate", &simulate_legal, py::arg("graph"), py::arg("order"));
}
