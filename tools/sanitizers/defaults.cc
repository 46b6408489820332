// SPDX-License-Identifier: Apache-2.0
//
// The sanitizers' options, as functions that they look for: so that they hold for programs that are
// started directly too. Forgiven is what Vulkan drivers and LLVM do, never what weft does.

#define WEFT_DEFAULT \
  extern "C" __attribute__((visibility("default"), used, no_sanitize("all"))) const char*

WEFT_DEFAULT __asan_default_options() {
  return "detect_leaks=1:strict_init_order=1:abort_on_error=1:detect_stack_use_after_return=1";
}

// Drivers keep what they made until the process ends.
WEFT_DEFAULT __lsan_default_suppressions() {
  return "leak:libvulkan_lvp.so\n"
         "leak:libLLVM\n"
         "leak:libvulkan.so\n"
         "leak:libVkLayer_khronos_validation.so\n";
}

WEFT_DEFAULT __ubsan_default_options() { return "print_stacktrace=1"; }

// weft::vulkan::OpenLoader, in programs that have it.
extern "C" __attribute__((weak)) void WeftOpensVulkan() __asm__("_ZN4weft6vulkan10OpenLoaderEv");

// Libraries that were not compiled for the sanitizer, and code that LLVM makes at run time: their
// locks are not seen, so what they do looks like races. Forgiving them costs something, so only
// programs with Vulkan do: on Linux no report from inside a library call is made then, which are
// lock-order inversions and races of memcpy (planted_faults_test).
WEFT_DEFAULT __tsan_default_options() {
  return &WeftOpensVulkan != nullptr
             ? "halt_on_error=1:second_deadlock_stack=1:ignore_noninstrumented_modules=1"
             : "halt_on_error=1:second_deadlock_stack=1";
}
