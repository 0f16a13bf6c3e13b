// SPDX-License-Identifier: Apache-2.0
// A VM's state as text. Numbers come from the VMM, which is not trusted; names come from the VM
// file, which allows nothing that would need quoting.
#include "status_report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "queue_rule.h"

struct text {
    char *at;
    size_t left; // 0: the text is cut
};

static void add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *text, const char *format, ...)
{
    va_list arguments;
    if (!text->left)
        return;
    va_start(arguments, format);
    int length = vsnprintf(text->at, text->left, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= text->left) {
        text->left = 0;
        return;
    }
    text->at += length;
    text->left -= (size_t)length;
}

static uint32_t known_ports(const struct supervisor *s, const struct vmm_status *status)
{
    return status->port_count < s->vm.port_count ? status->port_count : s->vm.port_count;
}

static uint64_t capacity(const struct vmm_port_config *port)
{
    return limits_capacity(&port->limits, port->max_request_bytes, POLICY_REFUSALS_PER_S);
}

static void add_operations(struct text *text, const struct vmm_port_config *port)
{
    const char *comma = "";
    add(text, ",\"operations\":[");
    for (unsigned number = 0; number < 64; number++) {
        const char *name = vm_port_operation_name(port->kind, number);
        if (!(port->operations >> number & 1) || !name)
            continue;
        add(text, "%s\"%s\"", comma, name);
        comma = ",";
    }
    add(text, "]");
}

static void add_port(struct text *text, const struct supervisor *s,
                     const struct vmm_port_status *port, unsigned index)
{
    const struct vmm_port_config *config = &s->vm.ports[index];
    add(text,
        "%s{\"name\":\"%s\",\"kind\":\"%s\",\"state\":\"%s\",\"process\":%s,\"restarts\":%u,"
        "\"requests\":%" PRIu64 ",\"completions\":%" PRIu64 ",\"denied\":%" PRIu64
        ",\"bytes_in\":%" PRIu64 ",\"bytes_out\":%" PRIu64 ",\"anomalies\":%u,"
        "\"anomaly_rule\":\"%s\",\"anomaly_descriptor\":%u,\"in_flight\":%u,\"queued\":%u,"
        "\"p50_ns\":%" PRIu64 ",\"p99_ns\":%" PRIu64,
        index ? "," : "", config->name, vm_port_kind_name(config->kind),
        vmm_port_state_name(port->state), config->process ? "true" : "false",
        s->backends[index].restarts, port->requests, port->completions, port->denied,
        port->bytes_in, port->bytes_out, port->anomalies, queue_rule_name(port->anomaly_rule),
        port->anomaly_descriptor, port->in_flight, port->queued, port->p50_ns, port->p99_ns);
    add_operations(text, config);
    if (config->kind == VMM_PORT_LOG)
        add(text, ",\"dropped\":%" PRIu64, s->logs[index].dropped);
    if (capacity(config))
        add(text, ",\"capacity_bits_per_s\":%" PRIu64 "}", capacity(config));
    else
        add(text, ",\"capacity_bits_per_s\":null}");
}

// Where it runs. What the keeper has not said yet is null.
static void add_placement(struct text *text, const struct supervisor *s)
{
    const struct placement *p = &s->process.placement;
    const struct keeper_report *kept = &s->keeper.report;
    char model[256];
    char hypervisor[256];
    char reason[sizeof(kept->reason)];
    snprintf(reason, sizeof(reason), "%s", kept->reason);
    // Texts of errors; no JSON may break on one.
    for (char *at = reason; *at; at++)
        *at = *at < ' ' || *at > '~' || *at == '"' || *at == '\\' ? '?' : *at;
    cpu_list_format(&p->model, model, sizeof(model));
    cpu_list_format(&p->hypervisor, hypervisor, sizeof(hypervisor));
    add(text,
        "\"placement\":{\"state\":\"%s\",\"core_isolated\":%s,\"model_cpus\":\"%s\","
        "\"hypervisor_cpus\":\"%s\",\"numa_node\":%u,\"others_kept_off\":",
        placement_state_name(p->state), p->state == PLACEMENT_ISOLATED ? "true" : "false", model,
        hypervisor, p->node);
    if (!s->keeper.reported)
        add(text, "null}");
    else
        add(text,
            "%s,\"tasks_left\":%u,\"interrupts_left\":%u,\"cache_ways\":%u,"
            "\"core_cookies\":%s,\"reason\":\"%s\"}",
            kept->others_kept_off ? "true" : "false", kept->tasks_left, kept->interrupts_left,
            kept->cache_ways, kept->cookies ? "true" : "false", reason);
}

void status_report_json(const struct supervisor *s, const struct vmm_status *status, char *text,
                        size_t size)
{
    struct text out = {text, size};
    uint64_t uptime_ms = (clock_now_ns(&clock_host) - s->started_ns) / NS_PER_MS;
    add(&out,
        "{\"format\":\"" CONTROL_FORMAT "\",\"name\":\"%s\",\"pid\":%d,\"vmm_pid\":%d,"
        "\"level\":\"%s\",\"demo_keys\":%s,\"audit_full\":%s,\"vcpus\":%u,\"uptime_ms\":%" PRIu64
        ",\"exits\":%" PRIu64 ",",
        s->vm.name, getpid(), s->process.pid, level_name(status->level),
        s->orders.keys.set.demo ? "true" : "false", s->audit.full ? "true" : "false",
        s->vm.vcpus ? s->vm.vcpus : 1, uptime_ms, status->exits);
    add_placement(&out, s);
    add(&out, ",\"memory\":{\"pages\":\"%s\",\"locked\":%s,\"node_bound\":%s}",
        memory_pages_name(s->process.memory_pages),
        s->process.config.memory_flags & VMM_MEMORY_LOCKED ? "true" : "false",
        s->process.memory_bound ? "true" : "false");
    add(&out, ",\"host\":{\"enforced\":%u,\"best_effort\":%u,\"absent\":%u}",
        host_report_count(&s->host, HOST_ENFORCED), host_report_count(&s->host, HOST_BEST_EFFORT),
        host_report_count(&s->host, HOST_ABSENT));
    add(&out, ",\"ports\":[");
    for (unsigned i = 0; i < known_ports(s, status); i++)
        add_port(&out, s, &status->ports[i], i);
    add(&out, "]}");
}

enum metric_value {
    METRIC_REQUESTS,
    METRIC_COMPLETIONS,
    METRIC_DENIED,
    METRIC_BYTES_IN,
    METRIC_BYTES_OUT,
    METRIC_ANOMALIES,
    METRIC_OPEN,
    METRIC_IN_FLIGHT,
    METRIC_QUEUED,
    METRIC_RESTARTS,
    METRIC_CAPACITY,
    METRIC_DROPPED,
};

static uint64_t metric_value(const struct supervisor *s, const struct vmm_port_status *port,
                             unsigned index, enum metric_value value)
{
    switch (value) {
    case METRIC_REQUESTS:
        return port->requests;
    case METRIC_COMPLETIONS:
        return port->completions;
    case METRIC_DENIED:
        return port->denied;
    case METRIC_BYTES_IN:
        return port->bytes_in;
    case METRIC_BYTES_OUT:
        return port->bytes_out;
    case METRIC_ANOMALIES:
        return port->anomalies;
    case METRIC_OPEN:
        return port->state == VMM_PORT_OPEN;
    case METRIC_IN_FLIGHT:
        return port->in_flight;
    case METRIC_QUEUED:
        return port->queued;
    case METRIC_RESTARTS:
        return s->backends[index].restarts;
    case METRIC_CAPACITY:
        return capacity(&s->vm.ports[index]);
    case METRIC_DROPPED:
        return s->logs[index].dropped;
    }
    return 0;
}

static const struct {
    enum metric_value value;
    const char *name;
    const char *type;
    const char *help;
} port_metrics[] = {
    {METRIC_REQUESTS, "guillotine_port_requests_total", "counter", "Requests taken."},
    {METRIC_COMPLETIONS, "guillotine_port_completions_total", "counter", "Requests ended."},
    {METRIC_DENIED, "guillotine_port_denied_total", "counter", "Requests and replies denied."},
    {METRIC_BYTES_IN, "guillotine_port_from_model_bytes_total", "counter",
     "Bytes from the model, headers included."},
    {METRIC_BYTES_OUT, "guillotine_port_to_model_bytes_total", "counter",
     "Bytes to the model, headers included."},
    {METRIC_ANOMALIES, "guillotine_port_anomalies_total", "counter",
     "Broken transport rules; each closed the port."},
    {METRIC_OPEN, "guillotine_port_open", "gauge", "1 if the port takes requests."},
    {METRIC_IN_FLIGHT, "guillotine_port_in_flight", "gauge", "Requests taken and not ended."},
    {METRIC_QUEUED, "guillotine_port_queued", "gauge", "Requests published and not taken."},
    {METRIC_RESTARTS, "guillotine_port_backend_restarts_total", "counter",
     "Restarts of the port's backend process."},
    {METRIC_CAPACITY, "guillotine_port_capacity_bits_per_second", "gauge",
     "Most that requests can tell in a second; 0 if nothing bounds it."},
    {METRIC_DROPPED, "guillotine_port_dropped_total", "counter",
     "Messages that a log's file did not take."},
};

// Times in seconds with ns precision, without a double on the way.
static void add_seconds(struct text *out, const struct supervisor *s, unsigned port,
                        const char *quantile, uint64_t ns)
{
    add(out,
        "guillotine_port_latency_seconds{vm=\"%s\",port=\"%s\",quantile=\"%s\"} %" PRIu64
        ".%09" PRIu64 "\n",
        s->vm.name, s->vm.ports[port].name, quantile, (uint64_t)(ns / NS_PER_S),
        (uint64_t)(ns % NS_PER_S));
}

void status_report_metrics(const struct supervisor *s, const struct vmm_status *status, char *text,
                           size_t size)
{
    struct text out = {text, size};
    uint64_t uptime_ms = (clock_now_ns(&clock_host) - s->started_ns) / NS_PER_MS;
    add(&out,
        "# HELP guillotine_vm_level Isolation level, 0 standard to 5 immolation.\n"
        "# TYPE guillotine_vm_level gauge\nguillotine_vm_level{vm=\"%s\"} %u\n"
        "# HELP guillotine_vm_exits_total KVM exits of all vCPUs.\n"
        "# TYPE guillotine_vm_exits_total counter\nguillotine_vm_exits_total{vm=\"%s\"} %" PRIu64
        "\n# HELP guillotine_vm_uptime_seconds Time since the start.\n"
        "# TYPE guillotine_vm_uptime_seconds gauge\n"
        "guillotine_vm_uptime_seconds{vm=\"%s\"} %" PRIu64 ".%03" PRIu64 "\n",
        s->vm.name, status->level, s->vm.name, status->exits, s->vm.name, uptime_ms / 1000,
        uptime_ms % 1000);
    for (size_t m = 0; m < sizeof(port_metrics) / sizeof(port_metrics[0]); m++) {
        add(&out, "# HELP %s %s\n# TYPE %s %s\n", port_metrics[m].name, port_metrics[m].help,
            port_metrics[m].name, port_metrics[m].type);
        for (unsigned i = 0; i < known_ports(s, status); i++)
            add(&out, "%s{vm=\"%s\",port=\"%s\"} %" PRIu64 "\n", port_metrics[m].name, s->vm.name,
                s->vm.ports[i].name, metric_value(s, &status->ports[i], i, port_metrics[m].value));
    }
    add(&out, "# HELP guillotine_port_latency_seconds From validation to completion.\n"
              "# TYPE guillotine_port_latency_seconds summary\n");
    for (unsigned i = 0; i < known_ports(s, status); i++) {
        add_seconds(&out, s, i, "0.5", status->ports[i].p50_ns);
        add_seconds(&out, s, i, "0.99", status->ports[i].p99_ns);
    }
}
