// SPDX-License-Identifier: Apache-2.0
// A supervisor that somebody has taken over: tries to lower the level of a real VMM, below Severed,
// in the way that its first argument names; the second is a VM file with one port. Says what became
// of it in one word: "refused" if the VMM ended at Offline, "accepted" if the model runs again,
// "held" if nothing changed.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../unit/order_world.h"
#include "clock.h"
#include "fd_message.h"
#include "vmm_process.h"

static struct vmm_process vmm;
static struct shared_ring audit; // a full one stops the ports

union any_message {
    struct vmm_message message;
    struct vmm_level level;
    struct vmm_status status;
    struct vmm_failed failed;
    struct vmm_end end;
};

static _Noreturn void give_up(const char *text)
{
    printf("broken: %s\n", text);
    vmm_process_end(&vmm);
    exit(1);
}

// Waits for the next message. Returns its type, 0 if the VMM has gone.
static uint32_t hear(union any_message *message)
{
    struct pollfd in = {.fd = vmm.channel, .events = POLLIN};
    size_t fd_count = 0;
    if (poll(&in, 1, 5000) <= 0)
        give_up("the VMM says nothing");
    ssize_t length =
        fd_message_receive(vmm.channel, message, sizeof(*message), NULL, &fd_count, NULL);
    return length > 0 ? vmm_message_check(&message->message, (uint64_t)length) : 0;
}

static void say(void *message, enum vmm_message_type type, uint32_t size)
{
    vmm_message_init(message, type, size);
    if (fd_message_send(vmm.channel, message, size, NULL, 0, NULL) < 0)
        give_up("the VMM does not listen");
}

static uint64_t requests(void)
{
    struct vmm_message question;
    union any_message answer;
    say(&question, VMM_MESSAGE_STATUS, sizeof(question));
    if (hear(&answer) != VMM_MESSAGE_STATUS_REPLY)
        give_up("no status");
    return answer.status.ports[0].requests;
}

static void drain_audit(unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        shared_ring_consume(&audit, shared_ring_available(&audit));
        vmm_process_wake(&vmm, 0);
        usleep(10000);
    }
}

static bool model_runs(void)
{
    // What the model published before may still have waited for room in the audit ring.
    drain_audit(10);
    uint64_t before = requests();
    drain_audit(20);
    return requests() != before;
}

static void start(const char *file)
{
    struct vm_description vm = {0};
    union any_message message;
    struct error err;
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0 || vm_file_load(file, &vm, &err) < 0 || vmm_process_start(&vmm, kvm, &err) < 0 ||
        vmm_process_prepare(&vmm, &vm, &err) < 0 || vmm_process_open_inputs(&vmm, &vm, &err) < 0)
        give_up("no VMM");
    vmm.config.key_set = keys;
    vmm.config.last_sequence = 8;
    memcpy(vmm.config.uuid, order.vm, sizeof(vmm.config.uuid));
    if (shared_ring_map(&audit, vmm.audit_rings[0], VMM_AUDIT_RING_BYTES, &err) < 0 ||
        vmm_process_open_inputs(&vmm, &vm, &err) < 0 ||
        vmm_process_configure(&vmm, &vm, &err) < 0 || vmm_process_go(&vmm, &err) < 0)
        give_up(err.text);
    uint32_t type = hear(&message);
    if (type != VMM_MESSAGE_READY)
        give_up(type == VMM_MESSAGE_FAILED ? message.failed.text : "not ready");
    vm_description_free(&vm);
    if (!model_runs())
        give_up("the model does not run");
}

// Severs the VM as an honest supervisor does.
static void sever(void)
{
    struct vmm_level level = {.level = LEVEL_SEVERED};
    union any_message answer;
    atomic_store(&vmm.level_own->level, LEVEL_SEVERED);
    // A busy machine may need more than the VMM's 100 ms.
    for (unsigned i = 0; i < 10; i++) {
        say(&level, VMM_MESSAGE_LEVEL, sizeof(level));
        if (hear(&answer) != VMM_MESSAGE_LEVEL_DONE)
            give_up("no answer");
        if (answer.level.paused_vcpus == 1)
            break;
    }
    if (answer.level.paused_vcpus != 1 || model_runs())
        give_up("not severed");
    if (atomic_load(&vmm.level_vmm->level) != LEVEL_SEVERED)
        give_up("the VMM's own page does not follow");
}

static void lower(uint32_t count, uint32_t level)
{
    struct vmm_lowering message = {.level.level = level, .order = order, .count = count};
    memcpy(message.signatures, signatures, sizeof(message.signatures));
    atomic_store(&vmm.level_own->level, level);
    say(&message, VMM_MESSAGE_LEVEL, sizeof(message));
}

// What became of it.
static const char *outcome(void)
{
    union any_message answer;
    uint32_t type = hear(&answer);
    if (type == VMM_MESSAGE_LEVEL_DONE)
        return model_runs() ? "accepted" : "held";
    // Ended: its page must say Offline, and nothing may have run in between.
    return type == VMM_MESSAGE_END && answer.end.kind == VMM_END_FAULT &&
                   atomic_load(&vmm.level_vmm->level) == LEVEL_OFFLINE && hear(&answer) == 0
               ? "refused"
               : "fell";
}

static const char *attack(const char *mode)
{
    struct vmm_level bare = {.level = LEVEL_STANDARD};
    uint32_t count = 5;
    uint32_t level = LEVEL_STANDARD;
    sign_all(5);
    if (!strcmp(mode, "page-only")) {
        atomic_store(&vmm.level_own->level, LEVEL_STANDARD);
        return model_runs() ? "accepted" : "held";
    }
    if (!strcmp(mode, "no-order")) {
        atomic_store(&vmm.level_own->level, LEVEL_STANDARD);
        say(&bare, VMM_MESSAGE_LEVEL, sizeof(bare));
        return outcome();
    }
    if (!strcmp(mode, "four")) {
        count = 4;
    } else if (!strcmp(mode, "duplicate")) {
        signatures[4] = signatures[3];
    } else if (!strcmp(mode, "bad-signature")) {
        signatures[4].signature[5] ^= 1;
    } else if (!strcmp(mode, "unknown-key")) {
        sign_as(9, &signatures[4]);
    } else if (!strcmp(mode, "count")) {
        count = UINT32_MAX;
    } else if (!strcmp(mode, "other-level")) {
        order.to = LEVEL_PROBATION;
        sign_all(5);
    } else if (!strcmp(mode, "wrong-vm")) {
        order.vm[0] ^= 1;
        sign_all(5);
    } else if (!strcmp(mode, "wrong-deployment")) {
        order.deployment[0] ^= 1;
        sign_all(5);
    } else if (!strcmp(mode, "wrong-from")) {
        order.from = LEVEL_PROBATION;
        sign_all(5);
    } else if (!strcmp(mode, "expired")) {
        order.issued_s -= 1000;
        order.expires_s = order.issued_s + 900;
        sign_all(5);
    } else if (!strcmp(mode, "old-sequence")) {
        order.sequence = 8;
        sign_all(5);
    } else if (!strcmp(mode, "no-level")) {
        level = LEVEL_COUNT;
    } else if (!strcmp(mode, "overtaken")) {
        // The order was signed before another one took the VM up, which the supervisor said while
        // it was honest.
        struct vmm_level later = {.level = LEVEL_SEVERED, .sequence = order.sequence};
        say(&later, VMM_MESSAGE_LEVEL, sizeof(later));
        if (strcmp(outcome(), "held") != 0)
            give_up("not severed again");
    } else if (!strcmp(mode, "replayed")) {
        lower(5, LEVEL_STANDARD);
        if (strcmp(outcome(), "accepted") != 0)
            give_up("the first use was not accepted");
        sever();
    }
    lower(count, level);
    return outcome();
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 64;
    signal(SIGPIPE, SIG_IGN);
    make_world();
    order.issued_s = clock_wall_ns(&clock_host) / NS_PER_S;
    order.expires_s = order.issued_s + 900;
    start(argv[2]);
    sever();
    printf("%s\n", attack(argv[1]));
    vmm_process_end(&vmm);
    return 0;
}
