// SPDX-License-Identifier: Apache-2.0
// How fast this machine's memory can be read.
#ifndef TESTS_BENCH_MEMORY_BANDWIDTH_H
#define TESTS_BENCH_MEMORY_BANDWIDTH_H

// Bytes per second that `threads` threads, pinned to CPUs 0, 1, ..., read together from 512 MiB in
// huge pages where the kernel gives them: plain vector loads in eight streams each, the best of
// `rounds` rounds. Dies without memory or AVX2.
double memory_bandwidth(unsigned threads, unsigned rounds);

#endif
