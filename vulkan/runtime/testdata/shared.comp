// SPDX-License-Identifier: Apache-2.0
//
// Takes (16 + 4) * ROWS * COLUMNS + 4 bytes of shared memory. For the runtime's tests, which never
// run it.
#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_scalar_block_layout : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint ROWS = 4;
layout(constant_id = 2) const uint COLUMNS = 8;
const uint SIZE = ROWS * COLUMNS;

struct Pair {
  vec4 value;
  uint index;
};
shared Pair tile[SIZE];
shared float sum;

layout(buffer_reference, scalar) writeonly buffer Params { float data[]; };
layout(push_constant, scalar) uniform Push { uint64_t params; };

void main() {
  const uint i = gl_LocalInvocationIndex;
  tile[i % SIZE] = Pair(vec4(i), i);
  if (i == 0) sum = 1.0;
  barrier();
  Params(params).data[i] = tile[(i + 1) % SIZE].value.x + tile[0].index + sum;
}
