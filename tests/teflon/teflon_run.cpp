// SPDX-License-Identifier: MIT
// An ordinary TensorFlow Lite program: runs a quantised model on the CPU's reference kernels and
// through an external delegate (Mesa's Teflon), and compares. It knows nothing of the simulator;
// teflon-e2e.sh runs it with the preload library, or on a board without.
//
// Rounding differences grow along a network, so "within 1" is asked of each step: the delegate
// computes the whole network with every tensor as an output, then the CPU computes each operator
// from the delegate's own input of it. A convolution whose result is only added to another tensor
// is one step with its addition, as in the driver [mesa rkt_ml.c].
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <dlfcn.h>
#include <tensorflow/lite/builtin_ops.h>
#include <tensorflow/lite/interpreter.h>
#include <tensorflow/lite/interpreter_builder.h>
#include <tensorflow/lite/kernels/register.h>
#include <tensorflow/lite/kernels/register_ref.h>
#include <tensorflow/lite/model_builder.h>
#include <tensorflow/lite/schema/schema_generated.h>

namespace {

constexpr int kDiffers = 1;
constexpr int kUsage = 2;
constexpr int kNoDevice = 3;
constexpr int kBadModel = 4;

using Bytes = std::vector<std::uint8_t>;
using Tensors = std::map<int, Bytes>;  // by index of the tensor in the subgraph

struct Stop {
  int code;
  std::string sentence;
};

struct Options {
  std::string delegate;
  std::string model;
  std::string input;   // a file for the first input instead of random bytes
  std::string output;  // a file to write the delegate's first output to
  std::uint32_t seed = 1;
};

// What TensorFlow Lite's external delegate loader does with a plug-in. That loader wraps a null
// delegate ("no device") into one that fails later in odd ways, so this asks the plug-in itself.
class Plugin {
 public:
  explicit Plugin(const std::string& library) {
    handle_ = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle_ == nullptr) {
      throw Stop{kUsage, std::string("cannot load the delegate: ") + dlerror()};
    }
    const auto create = symbol<TfLiteDelegate*(char**, char**, std::size_t, void (*)(const char*))>(
        "tflite_plugin_create_delegate");
    destroy_ = symbol<void(TfLiteDelegate*)>("tflite_plugin_destroy_delegate");
    delegate_ = create(nullptr, nullptr, 0, nullptr);
    if (delegate_ == nullptr) {
      throw Stop{kNoDevice, "the delegate " + library +
                                " found no NPU; it needs /dev/accel/accel0 of the driver "
                                "rocket, or librocket-sim.so in LD_PRELOAD"};
    }
  }
  ~Plugin() { destroy_(delegate_); }
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;

  TfLiteDelegate* delegate() const { return delegate_; }

 private:
  template <typename Function>
  Function* symbol(const char* name) {
    void* address = dlsym(handle_, name);
    if (address == nullptr) {
      throw Stop{kUsage, std::string("the library has no ") + name +
                             "; is it an external delegate of TensorFlow Lite?"};
    }
    return reinterpret_cast<Function*>(address);
  }

  void* handle_ = nullptr;  // never closed: Mesa keeps references to its own code until exit
  void (*destroy_)(TfLiteDelegate*) = nullptr;
  TfLiteDelegate* delegate_ = nullptr;
};

struct Run {
  Tensors outputs;
  int nodes = 0;      // of the execution plan; a delegated part is one
  int delegated = 0;  // operators inside delegated parts
};

struct Difference {
  std::size_t elements = 0;
  std::size_t equal = 0;
  int largest = 0;
  std::size_t first_above = 0;  // first element that differs by more than 1
};

// Operators that the driver makes one step of, in order; only a convolution and its addition.
struct Step {
  std::vector<int> operators;
  int output = -1;
};

const char* name_of(const tflite::ModelT& model, const tflite::OperatorT& op) {
  return tflite::EnumNameBuiltinOperator(model.operator_codes[op.opcode_index]->builtin_code);
}

bool is_byte(const tflite::TensorT& tensor) {
  return tensor.type == tflite::TensorType_UINT8 || tensor.type == tflite::TensorType_INT8;
}

bool is_constant(const tflite::ModelT& model, const tflite::TensorT& tensor) {
  return tensor.buffer < model.buffers.size() && !model.buffers[tensor.buffer]->data.empty();
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw Stop{kBadModel, "cannot read " + path};
  }
  return {std::istreambuf_iterator<char>(file), {}};
}

// Whether every index in the graph leads somewhere, which the file format does not promise.
bool is_sound(const tflite::ModelT& model) {
  const auto& sub = *model.subgraphs.front();
  const auto leads = [&](int lowest) {
    return [&sub, lowest](std::int32_t i) {
      return i >= lowest && i < static_cast<std::int32_t>(sub.tensors.size());
    };
  };
  const auto good = [&](const std::unique_ptr<tflite::OperatorT>& op) {
    return op->opcode_index < model.operator_codes.size() && !op->inputs.empty() &&
           !op->outputs.empty() &&
           std::all_of(op->inputs.begin(), op->inputs.end(), leads(-1)) &&  // -1: left out
           op->inputs.front() >= 0 && std::all_of(op->outputs.begin(), op->outputs.end(), leads(0));
  };
  return !sub.outputs.empty() && std::all_of(sub.inputs.begin(), sub.inputs.end(), leads(0)) &&
         std::all_of(sub.outputs.begin(), sub.outputs.end(), leads(0)) &&
         std::all_of(sub.operators.begin(), sub.operators.end(), good);
}

std::unique_ptr<tflite::ModelT> load(const std::string& path) {
  const std::string bytes = read_file(path);
  flatbuffers::Verifier verifier(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  if (!tflite::VerifyModelBuffer(verifier)) {
    throw Stop{kBadModel, path + " is not a readable .tflite file"};
  }
  std::unique_ptr<tflite::ModelT> model(tflite::GetModel(bytes.data())->UnPack());
  if (model->subgraphs.size() != 1) {
    throw Stop{kBadModel, path + " has not exactly one subgraph; only such models are compared"};
  }
  if (!is_sound(*model)) {
    throw Stop{kBadModel, path + " names tensors or operators that it does not have"};
  }
  for (const auto& code : model->operator_codes) {  // files of before 2020 have the old field
    code->builtin_code = std::max(
        code->builtin_code, static_cast<tflite::BuiltinOperator>(code->deprecated_builtin_code));
  }
  return model;
}

// Runs the model with the given inputs; with a delegate if there is one.
Run run(const tflite::ModelT& model, const Tensors& inputs, TfLiteDelegate* delegate) {
  flatbuffers::FlatBufferBuilder packed;
  packed.Finish(tflite::Model::Pack(packed, &model), tflite::ModelIdentifier());
  const auto flat = tflite::FlatBufferModel::BuildFromBuffer(
      reinterpret_cast<const char*>(packed.GetBufferPointer()), packed.GetSize());
  const tflite::ops::builtin::BuiltinRefOpResolver resolver;
  std::unique_ptr<tflite::Interpreter> interpreter;
  if (!flat || tflite::InterpreterBuilder(*flat, resolver)(&interpreter) != kTfLiteOk) {
    throw Stop{kBadModel, "TensorFlow Lite does not take the model"};
  }
  if (delegate != nullptr && interpreter->ModifyGraphWithDelegate(delegate) != kTfLiteOk) {
    throw Stop{kDiffers, "the delegate refused the graph"};
  }
  if (interpreter->AllocateTensors() != kTfLiteOk) {
    throw Stop{kBadModel, "TensorFlow Lite cannot allocate the model's tensors"};
  }
  for (const int index : interpreter->inputs()) {
    TfLiteTensor* tensor = interpreter->tensor(index);
    const Bytes& bytes = inputs.at(index);
    if (tensor->bytes != bytes.size()) {
      throw Stop{kBadModel, "an input has another size than its shape says"};
    }
    std::copy(bytes.begin(), bytes.end(), tensor->data.uint8);
  }
  if (interpreter->Invoke() != kTfLiteOk) {
    throw Stop{kDiffers, "TensorFlow Lite reports an error from Invoke"};
  }
  Run result;
  for (const int index : interpreter->execution_plan()) {
    const auto& [node, registration] = *interpreter->node_and_registration(index);
    ++result.nodes;
    if (registration.builtin_code == kTfLiteBuiltinDelegate) {
      result.delegated +=
          static_cast<const TfLiteDelegateParams*>(node.builtin_data)->nodes_to_replace->size;
    }
  }
  for (const int index : interpreter->outputs()) {
    const TfLiteTensor* tensor = interpreter->tensor(index);
    result.outputs[index].assign(tensor->data.uint8, tensor->data.uint8 + tensor->bytes);
  }
  return result;
}

std::vector<Step> steps_of(const tflite::ModelT& model) {
  const auto& sub = *model.subgraphs.front();
  std::map<int, std::size_t> step_of_tensor;
  std::vector<Step> steps;
  for (std::size_t i = 0; i < sub.operators.size(); ++i) {
    const auto& op = *sub.operators[i];
    const int output = op.outputs.front();
    const bool addition =
        model.operator_codes[op.opcode_index]->builtin_code == tflite::BuiltinOperator_ADD;
    // The driver adds inside the convolution that makes the first operand.
    const auto producer = step_of_tensor.find(op.inputs.front());
    if (addition && producer != step_of_tensor.end() &&
        steps[producer->second].operators.size() == 1) {
      Step joined = steps[producer->second];
      steps[producer->second].operators.clear();
      joined.operators.push_back(static_cast<int>(i));
      joined.output = output;
      steps.push_back(joined);
    } else {
      steps.push_back({{static_cast<int>(i)}, output});
    }
    step_of_tensor[output] = steps.size() - 1;
  }
  std::erase_if(steps, [](const Step& step) { return step.operators.empty(); });
  return steps;
}

// The model of only these operators, or of all if none are named.
tflite::ModelT part(const tflite::ModelT& model, const std::vector<int>& operators) {
  tflite::ModelT result(model);
  auto& sub = *result.subgraphs.front();
  std::set<int> made;
  std::set<int> needed;
  std::vector<std::unique_ptr<tflite::OperatorT>> kept;
  for (const int i : operators) {
    auto& op = sub.operators[static_cast<std::size_t>(i)];
    for (const int tensor : op->inputs) {
      if (tensor >= 0 && !made.contains(tensor) &&
          !is_constant(model, *sub.tensors[static_cast<std::size_t>(tensor)])) {
        needed.insert(tensor);
      }
    }
    made.insert(op->outputs.begin(), op->outputs.end());
    sub.outputs = op->outputs;
    kept.push_back(std::move(op));
  }
  sub.inputs.assign(needed.begin(), needed.end());
  sub.operators = std::move(kept);
  result.signature_defs.clear();  // they name the inputs that are no more
  result.metadata.clear();
  return result;
}

Difference compare(const Bytes& a, const Bytes& b, bool is_signed) {
  Difference d;
  d.elements = a.size();
  for (std::size_t i = 0; i < a.size(); ++i) {
    const int x = is_signed ? static_cast<std::int8_t>(a[i]) : a[i];
    const int y = is_signed ? static_cast<std::int8_t>(b[i]) : b[i];
    const int difference = std::abs(x - y);
    d.equal += difference == 0 ? 1U : 0U;
    if (difference > 1 && d.largest <= 1) {
      d.first_above = i;
    }
    d.largest = std::max(d.largest, difference);
  }
  return d;
}

std::string describe(const tflite::TensorT& tensor) {
  std::string text = "[";
  for (const int n : tensor.shape) {
    text += (text.size() > 1 ? "," : "") + std::to_string(n);
  }
  return text + "]";
}

std::string share(const Difference& d) {
  char text[96];
  std::snprintf(text, sizeof text, "%zu elements, equal %.2f %%, largest difference %d", d.elements,
                100.0 * static_cast<double>(d.equal) / static_cast<double>(d.elements), d.largest);
  return text;
}

// Compares one step of the delegate's run with the CPU's result from the same inputs.
bool check_step(const tflite::ModelT& model, const Step& step, const Tensors& tensors) {
  const auto& sub = *model.subgraphs.front();
  const auto& tensor = *sub.tensors[static_cast<std::size_t>(step.output)];
  if (!is_byte(tensor)) {
    return true;
  }
  const Run cpu = run(part(model, step.operators), tensors, nullptr);
  const Bytes& expected = cpu.outputs.at(step.output);
  const Bytes& found = tensors.at(step.output);
  const Difference d = compare(expected, found, tensor.type == tflite::TensorType_INT8);
  std::string ops;
  for (const int i : step.operators) {
    ops += (ops.empty() ? "" : "+") +
           std::string(name_of(model, *sub.operators[static_cast<std::size_t>(i)]));
  }
  const bool good = d.largest <= 1;
  std::cout << (good ? "  ok   " : "  FAIL ") << "op " << step.operators.front() << ' ' << ops
            << ' ' << describe(tensor) << ": " << share(d) << '\n';
  if (!good) {
    const auto channels = static_cast<std::size_t>(tensor.shape.back());
    const auto width = static_cast<std::size_t>(tensor.shape.size() == 4 ? tensor.shape[2] : 1);
    const std::size_t pixel = d.first_above / channels;
    std::cout << "       first at y " << pixel / width << " x " << pixel % width << " c "
              << d.first_above % channels << ": CPU " << int{expected[d.first_above]}
              << ", delegate " << int{found[d.first_above]} << '\n';
  }
  return good;
}

// Random bytes from the seed for every input; the bytes of options.input for the first one.
Tensors make_inputs(const tflite::ModelT& model, const Options& options) {
  const auto& sub = *model.subgraphs.front();
  std::mt19937 rng(options.seed);
  Tensors inputs;
  for (const int index : sub.inputs) {
    const auto& tensor = *sub.tensors[static_cast<std::size_t>(index)];
    std::size_t size = 1;
    for (const int n : tensor.shape) {
      size *= static_cast<std::size_t>(std::max(n, 1));
    }
    if (!is_byte(tensor) || size > 100'000'000) {
      throw Stop{kBadModel, "an input is not uint8 or int8, or is larger than 100 MB"};
    }
    Bytes bytes(size);
    std::generate(bytes.begin(), bytes.end(),
                  [&] { return static_cast<std::uint8_t>(rng() >> 24); });
    if (!options.input.empty() && index == sub.inputs.front()) {
      const std::string file = read_file(options.input);
      if (file.size() != bytes.size()) {
        throw Stop{kBadModel, options.input + " has not the size of the model's first input"};
      }
      std::copy(file.begin(), file.end(), bytes.begin());
    }
    inputs[index] = std::move(bytes);
  }
  return inputs;
}

int check(const Options& options) {
  const auto model = load(options.model);
  auto& sub = *model->subgraphs.front();
  const Tensors inputs = make_inputs(*model, options);
  std::cout << options.model << ": " << sub.operators.size() << " operators\n";
  const Run cpu = run(*model, inputs, nullptr);
  if (options.delegate.empty()) {
    std::cout << "  ran on the CPU only (no --delegate)\n";
    return 0;
  }

  const Plugin plugin(options.delegate);
  TfLiteDelegate* delegate = plugin.delegate();
  const Run npu = run(*model, inputs, delegate);
  std::cout << "  delegated " << npu.delegated << " of " << sub.operators.size()
            << " operators; nodes left: " << npu.nodes << '\n';
  bool good = npu.delegated > 0;
  if (!good) {
    std::cout << "  FAIL nothing was delegated\n";
  }
  for (const auto& [index, bytes] : npu.outputs) {
    const auto& tensor = *sub.tensors[static_cast<std::size_t>(index)];
    if (is_byte(tensor)) {
      std::cout << "  end to end, tensor " << index << ": "
                << share(compare(cpu.outputs.at(index), bytes,
                                 tensor.type == tflite::TensorType_INT8))
                << '\n';
    }
  }

  if (!options.output.empty()) {
    const Bytes& first = npu.outputs.at(sub.outputs.front());
    std::ofstream file(options.output, std::ios::binary);
    file.write(reinterpret_cast<const char*>(first.data()),
               static_cast<std::streamsize>(first.size()));
    if (!file.flush()) {
      throw Stop{kBadModel, "cannot write " + options.output};
    }
  }

  // The same network with every step's result as an output.
  const std::vector<Step> steps = steps_of(*model);
  const std::vector<std::int32_t> real_outputs = sub.outputs;
  std::set<std::int32_t> every(real_outputs.begin(), real_outputs.end());
  for (const Step& step : steps) {
    every.insert(step.output);
  }
  sub.outputs.assign(every.begin(), every.end());
  Tensors tensors = run(*model, inputs, delegate).outputs;
  tensors.insert(inputs.begin(), inputs.end());
  for (const std::int32_t index : real_outputs) {
    if (tensors.at(index) != npu.outputs.at(index)) {
      std::cout << "  FAIL tensor " << index << " differs between two runs of the delegate\n";
      good = false;
    }
  }
  for (const Step& step : steps) {
    good = check_step(*model, step, tensors) && good;
  }
  return good ? 0 : kDiffers;
}

Options parse(int argc, char** argv) {
  const char* usage =
      "usage: teflon_run [--delegate LIBRARY] [--seed N] [--input FILE] [--output FILE] "
      "MODEL.tflite\n"
      "Compares the delegate's results with those of TensorFlow Lite's reference kernels.\n"
      "Ends with 0: each step is within 1; 1: not; 2: usage; 3: no NPU; 4: bad model.\n"
      "Example: teflon_run --delegate /usr/lib/teflon/libteflon.so model.tflite";
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--delegate" && i + 1 < argc) {
      options.delegate = argv[++i];
    } else if (word == "--seed" && i + 1 < argc) {
      char* end = nullptr;
      options.seed = static_cast<std::uint32_t>(std::strtoul(argv[++i], &end, 10));
      if (*end != '\0') {
        throw Stop{kUsage, usage};
      }
    } else if (word == "--input" && i + 1 < argc) {
      options.input = argv[++i];
    } else if (word == "--output" && i + 1 < argc) {
      options.output = argv[++i];
    } else if (word == "--help") {
      std::cout << usage << '\n';
      std::exit(0);
    } else if (!word.starts_with("-") && options.model.empty()) {
      options.model = word;
    } else {
      throw Stop{kUsage, usage};
    }
  }
  if (options.model.empty()) {
    throw Stop{kUsage, usage};
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  std::cout << std::unitbuf;  // a driver that aborts must not take the last lines with it
  try {
    return check(parse(argc, argv));
  } catch (const Stop& stop) {
    std::cerr << (stop.code == kUsage ? "" : "teflon_run: ") << stop.sentence << '\n';
    return stop.code;
  }
}
