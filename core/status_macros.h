// SPDX-License-Identifier: Apache-2.0
//
// RETURN_IF_ERROR and ASSIGN_OR_RETURN, for functions that return absl::Status or absl::StatusOr.
//
//   RETURN_IF_ERROR(queue.Submit());
//   ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, backend.Allocate(bytes));
#ifndef WEFT_CORE_STATUS_MACROS_H_
#define WEFT_CORE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define WEFT_CONCAT_INNER(a, b) a##b
#define WEFT_CONCAT(a, b) WEFT_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expression)                                                     \
  do {                                                                                  \
    if (absl::Status weft_status = (expression); !weft_status.ok()) return weft_status; \
  } while (false)

#define ASSIGN_OR_RETURN(declaration, expression) \
  WEFT_ASSIGN_OR_RETURN(WEFT_CONCAT(weft_result_, __LINE__), declaration, expression)

#define WEFT_ASSIGN_OR_RETURN(result, declaration, expression) \
  auto result = (expression);                                  \
  if (!result.ok()) return std::move(result).status();         \
  declaration = *std::move(result)

#endif  // WEFT_CORE_STATUS_MACROS_H_
