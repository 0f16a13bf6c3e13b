// SPDX-License-Identifier: Apache-2.0
// The entropy device (virtio 1.2, section 5.4): a front of an entropy port.
#ifndef DEVICES_VIRTIO_ENTROPY_H
#define DEVICES_VIRTIO_ENTROPY_H

#include "virtio_calls.h"

// State: struct virtio_calls with virtio_entropy_calls.
extern const struct virtio_model virtio_entropy;
extern const struct virtio_calls_model virtio_entropy_calls;

#endif
