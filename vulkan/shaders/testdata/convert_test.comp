#version 460
#extension GL_GOOGLE_include_directive : require
// SPDX-License-Identifier: Apache-2.0
//
// Runs the conversions of convert.glsl over an array, for vulkan/ops/convert_test.cc.

#include "../common.glsl"
#include "../convert.glsl"

layout(constant_id = 0) const uint DTYPE = 1;
layout(constant_id = 1) const bool WIDEN = false;
layout(local_size_x = 64) in;

layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer ConvertParams {
  uint64_t source;       // u32: floats, or halves in the lower bits
  uint64_t destination;  // u32: the other way round
  uint count;
};

void main() {
  ConvertParams p = ConvertParams(push.params);
  const uint i = WorkgroupIndex() * 64 + gl_LocalInvocationIndex;
  if (i >= p.count) return;
  const uint bits = Ref32(p.source + 4 * uint64_t(i)).x;
  const uint result = WIDEN ? floatBitsToUint(WidenPair(DTYPE, bits | bits << 16).y)
                            : NarrowOfFloat(DTYPE, uintBitsToFloat(bits));
  Ref32(p.destination + 4 * uint64_t(i)).x = result;
}
