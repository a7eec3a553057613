// SPDX-License-Identifier: MIT
#include "microkernels/data_type.hpp"

#include <fmt/format.h>

#include "regdb/error.hpp"
#include "regdb/registers.hpp"

namespace npu::kernels {
namespace {

namespace cna = regdb::cna;
namespace dpu = regdb::dpu;

}  // namespace

std::string_view to_string(DataType type) {
  switch (type) {
    case DataType::i4: return "i4";
    case DataType::i8: return "i8";
    case DataType::i16: return "i16";
    case DataType::f16: return "f16";
    case DataType::bf16: return "bf16";
    case DataType::tf32: return "tf32";
    case DataType::i32: return "i32";
    case DataType::f32: return "f32";
  }
  return "?";
}

MacFormat mac_format(DataType input) {
  using C = cna::CONV_CON1::PROC_PRECISION;
  using D = dpu::DATA_FORMAT::PROC_PRECISION;
  switch (input) {
    case DataType::i4: return {C::INT4, D::INT4, 64, 32, 2048};
    case DataType::i8: return {C::INT8, D::INT8, 32, 32, 1024};
    case DataType::i16: return {C::INT16, D::INT16, 16, 32, 512};
    case DataType::f16: return {C::FP16, D::FP16, 16, 32, 512};
    case DataType::bf16: return {C::BF16, D::BF16, 16, 32, 512};
    case DataType::tf32: return {C::TF32, D::FP32, 16, 16, 256};  // DPU with 7 writes nothing
    case DataType::i32:
    case DataType::f32: break;
  }
  throw Error(ErrorCode::invalid_argument,
              fmt::format("the MAC array does not multiply {}: use i4, i8, i16, f16, bf16 or tf32",
                          to_string(input)));
}

std::uint32_t output_precision(DataType output) {
  using D = dpu::DATA_FORMAT::OUT_PRECISION;
  switch (output) {
    case DataType::i4: return D::INT4;
    case DataType::i8: return D::INT8;
    case DataType::i16: return D::INT16;
    case DataType::f16: return D::FP16;
    case DataType::bf16: return D::BF16;
    case DataType::i32: return D::INT32;
    case DataType::f32: return D::FP32;
    case DataType::tf32: break;
  }
  throw Error(ErrorCode::invalid_argument, "the NPU writes no tf32: use f32");
}

}  // namespace npu::kernels
