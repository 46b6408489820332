#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""try_vulkan.py FOLDER: opens the Vulkan device in FOLDER, with the layer, and prints its name."""
import ctypes
import os
import struct
import sys

folder = os.path.abspath(sys.argv[1])
os.environ["VK_DRIVER_FILES"] = os.environ["VK_ICD_FILENAMES"] = folder + "/lvp_icd.json"
os.environ["VK_LAYER_PATH"] = folder + "/layers"
vulkan = ctypes.CDLL(folder + "/libvulkan.so.1")


def check(result, what):
    if result != 0:
        sys.exit(f"{what} = {result}")


# VkInstanceCreateInfo with one layer: sType 1, pNext, flags, pApplicationInfo, counts and names.
layers = (ctypes.c_char_p * 1)(b"VK_LAYER_KHRONOS_validation")
info = struct.pack("@iPiPIPIP", 1, 0, 0, 0, 1, ctypes.addressof(layers), 0, 0)
instance = ctypes.c_void_p()
check(vulkan.vkCreateInstance(info, None, ctypes.byref(instance)), "vkCreateInstance")
count, device = ctypes.c_uint32(1), ctypes.c_void_p()
check(vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), ctypes.byref(device)), "vkEnumeratePhysicalDevices")
properties = ctypes.create_string_buffer(4096)
vulkan.vkGetPhysicalDeviceProperties(device, properties)
api = struct.unpack_from("I", properties)[0]
name = properties.raw[20:276].split(b"\0")[0].decode()
print(f"{name}, Vulkan {api >> 22}.{api >> 12 & 1023}.{api & 4095}")
