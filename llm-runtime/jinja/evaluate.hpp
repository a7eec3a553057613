// SPDX-License-Identifier: MIT
// Renders a parsed template.
#pragma once

#include <string>

#include "llm-runtime/jinja/ast.hpp"

namespace npu::llm::jinja {

/// `variables` is an object: the names that the template may use. Throws Error(bad_file) that names
/// the line where the template uses what is not supported, an undefined object, or does not end;
/// Error(invalid_argument) where the template itself raises an exception.
std::string render(const Node& body, const Json& variables);

}  // namespace npu::llm::jinja
