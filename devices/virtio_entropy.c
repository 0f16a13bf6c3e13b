// SPDX-License-Identifier: Apache-2.0
// The entropy device: a front of an entropy port.
#include "virtio_entropy.h"

static bool entropy_start(struct virtio_calls *calls, struct port_call *call,
                          const struct virtqueue_chain *chain)
{
    uint32_t wanted = chain->writable_bytes;
    if (chain->readable_count || !wanted) {
        virtio_refuse(calls->device, 0, chain->head);
        return false;
    }
    if (wanted > calls->driver.max_reply_bytes)
        wanted = calls->driver.max_reply_bytes;
    if (wanted > ENTROPY_MAX_BYTES)
        wanted = ENTROPY_MAX_BYTES;
    port_driver_send(&calls->driver, call, ENTROPY_READ, wanted, 0);
    return true;
}

// A device cannot say no: what policy denies is an answer without bytes.
static bool entropy_finish(struct virtio_calls *calls, const struct port_call *call,
                           const struct virtqueue_chain *chain, uint32_t *written)
{
    *written = call->status == PORT_STATUS_OK ? call->reply_length : 0;
    return virtio_copy_out(calls->device, 0, chain, 0, call->reply, *written, calls->driver.port);
}

const struct virtio_calls_model virtio_entropy_calls = {entropy_start, entropy_finish};

const struct virtio_model virtio_entropy = {
    .type = VIRTIO_TYPE_ENTROPY,
    .serve = virtio_calls_serve,
    .reset = virtio_calls_reset,
};
