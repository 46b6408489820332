#version 450
// SPDX-License-Identifier: Apache-2.0
#extension GL_GOOGLE_include_directive : require
#include "test_shader.glsl"

layout(local_size_x = kGroupSize) in;

layout(std430, set = 0, binding = 0) buffer Data { float data[]; };

void main() { data[gl_GlobalInvocationID.x] *= FACTOR; }
