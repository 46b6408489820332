// SPDX-License-Identifier: Apache-2.0
const uint kGroupSize = 64;
