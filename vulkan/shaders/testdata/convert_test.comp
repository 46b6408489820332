#version 460
#extension GL_GOOGLE_include_directive : require
// SPDX-License-Identifier: Apache-2.0
//
// Runs the conversions of convert.glsl and quantize.glsl over an array, for
// vulkan/ops/convert_test.cc.

#include "../common.glsl"
#include "../convert.glsl"
#include "../quantize.glsl"

layout(constant_id = 0) const uint DTYPE = 1;
layout(constant_id = 1) const uint WAY = 0;  // 0: narrow, 1: widen, 2: divide by the scale and narrow
layout(local_size_x = 64) in;

layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer ConvertParams {
  uint64_t source;       // u32: floats, or codes in the lower bits
  uint64_t destination;  // u32: the other way round
  uint count;
  float scale;
};

uint Widen(uint code) {
  if (DTYPE >= kE4M3) return floatBitsToUint(FloatOfFloat8(DTYPE, code));
  return floatBitsToUint(WidenPair(DTYPE, code | code << 16).y);
}

uint Narrow(float value) {
  return DTYPE >= kE4M3 ? Float8OfFloat(DTYPE, value) : NarrowOfFloat(DTYPE, value);
}

void main() {
  ConvertParams p = ConvertParams(push.params);
  const uint i = WorkgroupIndex() * 64 + gl_LocalInvocationIndex;
  if (i >= p.count) return;
  const uint bits = Ref32(p.source + 4 * uint64_t(i)).x;
  uint result;
  if (WAY == 1) {
    result = Widen(bits);
  } else if (WAY == 2) {
    result = Quantize(DTYPE, uintBitsToFloat(bits), MakeScale(p.scale));
  } else {
    result = Narrow(uintBitsToFloat(bits));
  }
  Ref32(p.destination + 4 * uint64_t(i)).x = result;
}
