// SPDX-License-Identifier: Apache-2.0
// An HTTP proxy on the guest's loopback whose way out is an http port.
#ifndef LINUX_HTTP_PROXY_H
#define LINUX_HTTP_PROXY_H

// Serves on 127.0.0.1 until it is ended. `name` of the port, or NULL: the first http port. Returns
// an exit status if it cannot begin.
int http_proxy_run(unsigned short number, const char *name);

#endif
