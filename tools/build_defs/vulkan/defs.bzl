# SPDX-License-Identifier: Apache-2.0
"""What a target needs to find the software Vulkan device among its runfiles."""

# For data.
SOFTWARE_VULKAN_DATA = [
    "@software_vulkan//:driver",
    "@software_vulkan//:icd",
    "@software_vulkan//:loader",
    "@software_vulkan//:validation_manifest",
]

# For local_defines of a target with that data: where in the runfiles the driver's manifest, the
# loader and the validation layer's manifest lie, as string literals. The macros are always there;
# WEFT_SOFTWARE_VULKAN_PRESENT is 1 where the files are the device, and 0 where they are stand-ins.
SOFTWARE_VULKAN_DEFINES = [
    'WEFT_SOFTWARE_ICD_RLOCATION=\\"$(rlocationpath @software_vulkan//:icd)\\"',
    'WEFT_SOFTWARE_LOADER_RLOCATION=\\"$(rlocationpath @software_vulkan//:loader)\\"',
    'WEFT_VALIDATION_LAYER_RLOCATION=\\"$(rlocationpath @software_vulkan//:validation_manifest)\\"',
] + select({
    "@software_vulkan//:present": ["WEFT_SOFTWARE_VULKAN_PRESENT=1"],
    "//conditions:default": ["WEFT_SOFTWARE_VULKAN_PRESENT=0"],
})
