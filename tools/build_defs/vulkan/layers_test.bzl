# SPDX-License-Identifier: Apache-2.0
"""layers_test: a program under the validation layer of @vulkan_layers."""

load("@rules_shell//shell:sh_test.bzl", "sh_test")

def layers_test(name, program, args = [], data = [], settings = None, **kwargs):
    """Runs a program on the Mesa of @vulkan_layers, and where it asks for validation, under that layer.

    Without @vulkan_layers it is skipped, and says so.

    Args:
      name: the target's name.
      program: a cc_binary; one of googletest, as a rule.
      args: its arguments.
      data: what it reads.
      settings: the layer's settings, a file named vk_layer_settings.txt.
      **kwargs: of sh_test.
    """
    settings = settings or "//vulkan/layers:core_and_sync"
    sh_test(
        name = name,
        srcs = ["//tools/build_defs/vulkan:run_with_layers.sh"],
        args = [
            "$(rlocationpath @vulkan_layers//:ld.so)",
            "$(rlocationpath %s)" % settings,
            "$(rlocationpath %s)" % program,
        ] + args,
        data = data + [
            program,
            settings,
            "@vulkan_layers//:files",
            "@vulkan_layers//:ld.so",
        ],
        **kwargs
    )
