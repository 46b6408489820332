// SPDX-License-Identifier: Apache-2.0
//
// Only with SHADOW_BINDINGS, for the validation layer, which does not see memory reached by address:
// what a dispatch reads and writes is also bound to these descriptors, by //vulkan/layers, and every
// kernel seems to touch them. None does: the layer reads the code and not the values.
#ifndef WEFT_VULKAN_SHADERS_SHADOW_BINDINGS_GLSL_
#define WEFT_VULKAN_SHADERS_SHADOW_BINDINGS_GLSL_

// kShadowReads and kShadowWrites of vulkan/layers/shadow_bindings.h. Not arrays: of those the layer
// does not know which elements are touched.
#define SHADOW_READ(slot, block, name) \
  layout(set = 0, binding = slot, scalar) readonly buffer block { uint x; } name;
#define SHADOW_WRITE(slot, block, name) \
  layout(set = 0, binding = slot, scalar) writeonly buffer block { uint x; } name;

SHADOW_READ(0, ShadowR0, shadow_r0)
SHADOW_READ(1, ShadowR1, shadow_r1)
SHADOW_READ(2, ShadowR2, shadow_r2)
SHADOW_READ(3, ShadowR3, shadow_r3)
SHADOW_READ(4, ShadowR4, shadow_r4)
SHADOW_READ(5, ShadowR5, shadow_r5)
SHADOW_READ(6, ShadowR6, shadow_r6)
SHADOW_READ(7, ShadowR7, shadow_r7)
SHADOW_READ(8, ShadowR8, shadow_r8)
SHADOW_READ(9, ShadowR9, shadow_r9)
SHADOW_READ(10, ShadowR10, shadow_r10)
SHADOW_READ(11, ShadowR11, shadow_r11)
SHADOW_READ(12, ShadowR12, shadow_r12)
SHADOW_READ(13, ShadowR13, shadow_r13)
SHADOW_READ(14, ShadowR14, shadow_r14)
SHADOW_READ(15, ShadowR15, shadow_r15)
SHADOW_READ(16, ShadowR16, shadow_r16)
SHADOW_READ(17, ShadowR17, shadow_r17)
SHADOW_READ(18, ShadowR18, shadow_r18)
SHADOW_READ(19, ShadowR19, shadow_r19)
SHADOW_WRITE(20, ShadowW0, shadow_w0)
SHADOW_WRITE(21, ShadowW1, shadow_w1)
SHADOW_WRITE(22, ShadowW2, shadow_w2)
SHADOW_WRITE(23, ShadowW3, shadow_w3)
SHADOW_WRITE(24, ShadowW4, shadow_w4)
SHADOW_WRITE(25, ShadowW5, shadow_w5)
SHADOW_WRITE(26, ShadowW6, shadow_w6)
SHADOW_WRITE(27, ShadowW7, shadow_w7)
SHADOW_WRITE(28, ShadowW8, shadow_w8)
SHADOW_WRITE(29, ShadowW9, shadow_w9)
SHADOW_WRITE(30, ShadowW10, shadow_w10)
SHADOW_WRITE(31, ShadowW11, shadow_w11)

#define SHADOW_TOUCH() ShadowTouch()

void ShadowTouch() {
  if (push.params != 0) return;  // it never is 0
  const uint x = shadow_r0.x ^ shadow_r1.x ^ shadow_r2.x ^ shadow_r3.x ^ shadow_r4.x ^
                 shadow_r5.x ^ shadow_r6.x ^ shadow_r7.x ^ shadow_r8.x ^ shadow_r9.x ^
                 shadow_r10.x ^ shadow_r11.x ^ shadow_r12.x ^ shadow_r13.x ^ shadow_r14.x ^
                 shadow_r15.x ^ shadow_r16.x ^ shadow_r17.x ^ shadow_r18.x ^ shadow_r19.x;
  shadow_w0.x = x;
  shadow_w1.x = x;
  shadow_w2.x = x;
  shadow_w3.x = x;
  shadow_w4.x = x;
  shadow_w5.x = x;
  shadow_w6.x = x;
  shadow_w7.x = x;
  shadow_w8.x = x;
  shadow_w9.x = x;
  shadow_w10.x = x;
  shadow_w11.x = x;
}

#endif  // WEFT_VULKAN_SHADERS_SHADOW_BINDINGS_GLSL_
