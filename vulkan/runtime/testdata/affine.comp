// SPDX-License-Identifier: Apache-2.0
//
// output[i] = input[i], taken `rounds` times through x -> FACTOR * x + 1. For the runtime's tests.
#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_scalar_block_layout : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_KHR_shader_subgroup_basic : require

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint FACTOR = 2;

layout(buffer_reference, scalar) readonly buffer Input { uint data[]; };
layout(buffer_reference, scalar) writeonly buffer Output { uint data[]; };
layout(buffer_reference, scalar) readonly buffer Params {
  Input source;
  Output destination;
  Output sizes;  // subgroup size, workgroup size
  uint count;
  uint rounds;
};
layout(push_constant, scalar) uniform Push { uint64_t params; };

void main() {
  Params p = Params(params);
  const uint i = gl_GlobalInvocationID.x;
  if (i == 0) {
    p.sizes.data[0] = gl_SubgroupSize;
    p.sizes.data[1] = gl_WorkGroupSize.x;
  }
  if (i >= p.count) return;
  uint x = p.source.data[i];
  for (uint r = 0; r < p.rounds; ++r) x = FACTOR * x + 1;
  p.destination.data[i] = x;
}
