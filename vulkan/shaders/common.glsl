// SPDX-License-Identifier: Apache-2.0
//
// What every kernel shares: the one push constant, memory by address, and the flat workgroup index.
#ifndef WEFT_VULKAN_SHADERS_COMMON_GLSL_
#define WEFT_VULKAN_SHADERS_COMMON_GLSL_

#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference2 : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_scalar_block_layout : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_8bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require

#define UNROLL [[unroll]]

const float kLog2E = 1.44269504088896340736;

// The address of the parameter block, a struct of vulkan/ops/params.h.
layout(push_constant, scalar) uniform Push { uint64_t params; } push;

layout(buffer_reference, scalar, buffer_reference_align = 1) buffer Ref8 { uint8_t x; };
layout(buffer_reference, scalar, buffer_reference_align = 2) buffer Ref16 { uint16_t x; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Ref32 { uint x; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer RefFloat { float x; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer RefInt2 { ivec2 x; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer RefInt4 { ivec4 x; };
layout(buffer_reference, scalar, buffer_reference_align = 8) buffer Ref64 { int64_t x; };
layout(buffer_reference, scalar, buffer_reference_align = 8) buffer RefPair { uvec2 x; };
layout(buffer_reference, scalar, buffer_reference_align = 16) buffer Ref128 { uvec4 x; };

// Division by a number known to the host (Divisor of vulkan/ops/params.h): exact for n < 2^31.
// An integer division costs tens of instructions on a GPU, and is done lane by lane in software.
struct Divisor {
  uint multiplier;
  uint shift;
};

uint Divide(uint n, Divisor d) { return uint((uint64_t(n) * d.multiplier) >> d.shift); }

#ifdef SHADOW_BINDINGS
#include "shadow_bindings.glsl"
#else
#define SHADOW_TOUCH()
#endif

// Element `index` of an array that is there unless its address is 0. Mesa's lavapipe (26.1) loads
// from an address that all lanes share whether they are there or not, so that none may be null.
float LoadOptional(uint64_t array, uint index, float otherwise) {
  const float value = RefFloat(array == 0 ? push.params : array + index * uint64_t(4)).x;
  return array == 0 ? otherwise : value;
}

// The grid is a line folded into x and y, since devices cap each axis at 65535 (vulkan.md, 6.1).
// Every kernel calls this.
uint WorkgroupIndex() {
  SHADOW_TOUCH();
  return gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
}

#endif  // WEFT_VULKAN_SHADERS_COMMON_GLSL_
