// SPDX-License-Identifier: Apache-2.0
//
// What tests of this repository change about a device.
#ifndef WEFT_CUDA_RUNTIME_DEVICE_HOOKS_H_
#define WEFT_CUDA_RUNTIME_DEVICE_HOOKS_H_

namespace weft::cuda {

struct DeviceHooks {
  // Not 0: attention is scheduled as if the device had so many multiprocessors. With one, every
  // batch is a large one.
  int pretend_multiprocessors = 0;
};

}  // namespace weft::cuda

#endif  // WEFT_CUDA_RUNTIME_DEVICE_HOOKS_H_
