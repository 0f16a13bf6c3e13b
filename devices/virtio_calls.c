// SPDX-License-Identifier: Apache-2.0
// Devices for which each chain is one request of one port.
#include "virtio_calls.h"

static unsigned finish_calls(struct virtio_calls *calls)
{
    struct port_driver *driver = &calls->driver;
    unsigned done = 0;
    while (port_driver_next_done(driver))
        continue;
    for (unsigned i = 0; i < driver->count; i++) {
        struct port_call *call = &driver->calls[i];
        uint32_t written = 0;
        if (call->state != PORT_CALL_DONE)
            continue;
        // Of a driver that is gone.
        if (call->tag == calls->generation) {
            if (!port_gate_is_open(driver->port) ||
                !calls->model->finish(calls, call, &calls->chains[i], &written))
                continue; // once more when it is open
            virtio_push(calls->device, 0, calls->chains[i].head, written);
        }
        port_driver_free(call);
        calls->under_way--;
        done++;
    }
    return done;
}

static unsigned take_chains(struct virtio_calls *calls)
{
    unsigned done = 0;
    struct port_driver *driver = &calls->driver;
    while (virtio_has_work(calls->device, 0) && done < driver->count &&
           port_gate_is_open(driver->port)) {
        struct port_call *call = port_driver_take(driver, calls, calls->generation);
        if (!call)
            break;
        struct virtqueue_chain *chain = &calls->chains[port_call_index(driver, call)];
        if (!virtio_take(calls->device, 0, chain)) {
            port_driver_free(call);
            break;
        }
        if (calls->model->start(calls, call, chain))
            calls->under_way++;
        else
            port_driver_free(call);
        done++;
    }
    return done;
}

unsigned virtio_calls_serve(struct virtio_device *device)
{
    struct virtio_calls *calls = device->settings.state;
    unsigned done = calls->under_way ? finish_calls(calls) : 0;
    return done + take_chains(calls);
}

void virtio_calls_reset(struct virtio_device *device)
{
    struct virtio_calls *calls = device->settings.state;
    calls->generation++;
}
