// SPDX-License-Identifier: Apache-2.0
// What is left of a VM once its VMM is gone: an encrypted image if one was reserved, no memory, and
// at Immolation no keys. Failures are alarms and records, never the end of the supervisor.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "backend_protocol.h"
#include "cleanup.h"
#include "forensic_core.h"
#include "forensic_image.h"
#include "key_set_store.h"
#include "memory_scrub.h"
#include "supervisor_internal.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif

// Room for what a bound of the memory cannot know: page tables, rings of the I/O region, rounding.
#define SLACK_BYTES (8ull << 20)

static void take_note(struct supervisor *s, enum audit_forensic event, uint64_t argument)
{
    struct error err;
    const struct audit_record record = {
        .type = AUDIT_FORENSIC,
        .port = AUDIT_NO_PORT,
        .level = (uint8_t)s->containment.state.level,
        .argument = argument,
        .detail = event,
    };
    // A log that cannot be written is found when it is closed.
    if (s->audit.fd >= 0)
        audit_log_append(&s->audit, &record, &err);
}

static bool failed(struct supervisor *s, enum audit_forensic what, const struct error *err)
{
    fprintf(stderr, "guillotine: ALARM: %s: %s\n", s->vm.name, err->text);
    take_note(s, AUDIT_FORENSIC_FAILED, what);
    return false;
}

// Most that the guest memory can be: it is sized by the VMM, later.
static uint64_t bound_memory(const struct supervisor *s)
{
    struct stat status;
    uint64_t weights = 0;
    uint64_t bytes = SLACK_BYTES;
    for (unsigned i = 0; i < s->vm.weights_count; i++) {
        if (stat(s->vm.weights[i].path, &status) == 0)
            weights += (uint64_t)status.st_size;
    }
    uint64_t memory = vmm_process_memory_bytes(&s->vm, weights);
    bytes += memory + (memory + weights) / 256; // and page tables, twice what they need
    if (stat(s->vm.image, &status) == 0)
        bytes += (uint64_t)status.st_size;
    for (unsigned i = 0; i < s->vm.port_count; i++) {
        const struct vmm_port_config *port = &s->vm.ports[i];
        uint64_t count = port->in_flight > port->queue_count ? port->in_flight : port->queue_count;
        bytes += count * (512ull + port->max_request_bytes + port->max_reply_bytes) +
                 port->queue_count * (64ull << 10);
    }
    return bytes;
}

// Opens the file that the image will be, alone. What an earlier run left in it is given up.
static int open_reserved(const char *path, struct error *err)
{
    cleanup_fd int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "%s", path);
    if (!S_ISREG(status.st_mode) || status.st_uid != geteuid())
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "%s is not a file of this user", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "%s is in use", path);
    if (fstat(fd, &status) < 0 || !status.st_nlink || ftruncate(fd, 0) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "%s", path);
    return steal_fd(&fd);
}

static int reserve(struct supervisor *s, struct error *err)
{
    struct supervisor_forensics *f = &s->forensics;
    char folder[PATH_MAX];
    uint64_t bytes = forensic_image_bytes(bound_memory(s) + forensic_core_overhead());
    if (vm_key_make(s->state_dir, f->id, err) < 0)
        return -1;
    if (snprintf(folder, sizeof(folder), "%s/forensics", s->state_dir) >= (int)sizeof(folder) ||
        snprintf(f->path, sizeof(f->path), "%s/%s.reserved", folder, f->id) >= (int)sizeof(f->path))
        return error_set(err, EXIT_STATUS_USAGE, ENAMETOOLONG, "%s", s->state_dir);
    if (mkdir(folder, 0700) < 0 && errno != EEXIST)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "create %s", folder);
    cleanup_fd int fd = open_reserved(f->path, err);
    if (fd < 0)
        return -1;
    if (fallocate(fd, 0, 0, (off_t)bytes) < 0) {
        int code = errno;
        unlink(f->path);
        return error_set(err, EXIT_STATUS_RESOURCES, code, "reserve %llu MiB in %s",
                         (unsigned long long)(bytes >> 20), folder);
    }
    f->image_fd = steal_fd(&fd);
    return 0;
}

// The keys of the key set in force, all zero without one. A set that does not verify is an error:
// whoever wrote it must not be able to open images.
static int load_administrators(const struct supervisor *s, struct level_key_set *administrators,
                               struct error *err)
{
    *administrators = (struct level_key_set){0};
    cleanup_free struct key_set_file *file = calloc(1, sizeof(*file));
    if (!file)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "key set");
    int found = key_set_store_load(s->state_dir, &s->state.record.keys, file, err);
    if (found > 0)
        *administrators = file->set;
    return found < 0 ? -1 : 0;
}

void forensics_reserve(struct supervisor *s)
{
    struct supervisor_forensics *f = &s->forensics;
    struct error err = {0};
    if (!s->state_dir)
        return;
    snprintf(f->id, sizeof(f->id), "%s", s->state.uuid_text[0] ? s->state.uuid_text : s->vm.name);
    bool wanted = !s->vm.forensics_given || s->vm.forensics;
    bool broken = wanted && load_administrators(s, &f->administrators, &err) < 0;
    if (!s->vm.forensics_given)
        wanted = f->administrators.keys > 0;
    if (wanted && !broken && reserve(s, &err) == 0)
        return;
    if (wanted || broken)
        fprintf(stderr, "guillotine: note: Offline will scrub %s without a copy: %s\n", s->vm.name,
                err.text);
    else if (s->vm.forensics_given || isatty(STDERR_FILENO))
        fprintf(stderr,
                "guillotine: note: Offline will scrub %s without a copy: no forensic image was "
                "asked for\n",
                s->vm.name);
}

static int write_image(struct supervisor *s, const struct forensic_area *area, uint64_t *bytes,
                       unsigned *administrators, struct error *err)
{
    struct supervisor_forensics *f = &s->forensics;
    struct forensic_header header = {
        .wall_ns = clock_wall_ns(&clock_host),
        .level = s->containment.state.level,
    };
    const struct forensic_core_source source = {
        .memory_fd = s->process.memory,
        .area = area,
        .vcpus = s->process.config.vcpus,
        .vm = f->id,
        .level = header.level,
        .wall_ns = header.wall_ns,
    };
    struct level_key_set keys;
    struct vm_key key;
    // Those in office now; but a key set that went away since launch opens nothing to anybody.
    if (load_administrators(s, &keys, err) < 0 || !keys.keys)
        keys = f->administrators;
    snprintf(header.id, sizeof(header.id), "%s", f->id);
    if (vm_key_load(s->state_dir, f->id, &key, err) < 0)
        return -1;
    *administrators = keys.keys;
    struct forensic_writer *writer = calloc(1, sizeof(*writer));
    int result = writer ? 0 : error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "image");
    if (result == 0)
        result = forensic_writer_begin(writer, f->image_fd, &header, &key, &keys, err);
    vm_key_wipe(&key);
    if (result == 0)
        result = forensic_core_write(&source, forensic_writer_write, writer, err);
    if (result == 0)
        result = forensic_writer_finish(writer, err);
    if (writer) {
        *bytes = writer->bytes;
        forensic_writer_wipe(writer);
    }
    free(writer);
    return result;
}

// Gives the whole image its name, ID-TIME.core.
static int publish(struct supervisor *s, uint64_t bytes, char path[PATH_MAX], struct error *err)
{
    struct supervisor_forensics *f = &s->forensics;
    char time[32];
    char folder[PATH_MAX];
    struct tm tm;
    time_t now = (time_t)(clock_wall_ns(&clock_host) / NS_PER_S);
    strftime(time, sizeof(time), "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
    snprintf(folder, sizeof(folder), "%s/forensics", s->state_dir);
    if (ftruncate(f->image_fd, (off_t)bytes) < 0 || fsync(f->image_fd) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "forensic image");
    long renamed = -1;
    for (unsigned i = 0; renamed < 0 && i < 100; i++) {
        char number[16] = "";
        if (i)
            snprintf(number, sizeof(number), "-%u", i);
        if (snprintf(path, PATH_MAX, "%s/%s-%s%s.core", folder, f->id, time, number) >= PATH_MAX)
            return error_set(err, EXIT_STATUS_RESOURCES, ENAMETOOLONG, "%s", folder);
        renamed = syscall(SYS_renameat2, AT_FDCWD, f->path, AT_FDCWD, path, RENAME_NOREPLACE);
        if (renamed < 0 && errno != EEXIST)
            break;
    }
    if (renamed < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "name %s", path);
    cleanup_fd int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? error_set(err, EXIT_STATUS_RESOURCES, errno, "sync %s", folder)
                                   : 0;
}

bool forensics_seal(struct supervisor *s)
{
    struct supervisor_forensics *f = &s->forensics;
    static struct forensic_area area;
    struct stat status;
    struct error err;
    char path[PATH_MAX];
    uint64_t bytes = 0;
    unsigned administrators = 0;
    if (f->image_fd < 0 || f->scrubbed || s->process.memory < 0 ||
        fstat(s->process.memory, &status) < 0 || !status.st_size)
        return true; // launch said that there will be no copy, or there is nothing to copy
    // A copy, since nothing keeps other holders of the memfd from changing it.
    if (pread(s->process.forensics, &area, sizeof(area), 0) != (ssize_t)sizeof(area))
        memset(&area, 0, sizeof(area));
    int result = write_image(s, &area, &bytes, &administrators, &err);
    if (result == 0)
        result = publish(s, bytes, path, &err);
    if (result < 0) {
        error_prefix(&err, "no forensic image");
        failed(s, AUDIT_FORENSIC_IMAGE, &err);
        return false;
    }
    close(f->image_fd);
    f->image_fd = -1;
    take_note(s, AUDIT_FORENSIC_IMAGE, bytes);
    if (administrators)
        fprintf(stderr,
                "guillotine: forensic image %s: opens with the key of one of %u administrators "
                "and the VM's key\n",
                path, administrators);
    else
        fprintf(stderr, "guillotine: forensic image %s: no key set, the VM's key alone opens it\n",
                path);
    return true;
}

static int scrub_one(int fd, uint64_t *bytes, struct error *err)
{
    return fd < 0 ? 0 : memory_scrub(fd, bytes, err);
}

bool forensics_scrub(struct supervisor *s)
{
    struct supervisor_forensics *f = &s->forensics;
    struct error err;
    uint64_t bytes = 0;
    bool whole = true;
    if (f->scrubbed)
        return true;
    f->scrubbed = true;
    if (scrub_one(s->process.memory, &bytes, &err) < 0)
        whole = failed(s, AUDIT_FORENSIC_SCRUBBED, &err);
    if (scrub_one(s->process.forensics, &bytes, &err) < 0)
        whole = failed(s, AUDIT_FORENSIC_SCRUBBED, &err);
    for (unsigned i = 0; i < s->vm.port_count; i++) {
        if (s->vm.ports[i].process &&
            scrub_one(s->process.ports[i][VMM_PORT_FD_BACKEND_MEMORY], &bytes, &err) < 0)
            whole = failed(s, AUDIT_FORENSIC_SCRUBBED, &err);
    }
    for (unsigned i = 0; i < VMM_MAX_WEIGHTS; i++) {
        if (sealed_memory_release(&s->process.sealed[i], &bytes, &err) < 0)
            whole = failed(s, AUDIT_FORENSIC_SCRUBBED, &err);
    }
    if (whole)
        take_note(s, AUDIT_FORENSIC_SCRUBBED, bytes);
    return whole;
}

bool forensics_destroy_keys(struct supervisor *s)
{
    struct error err;
    unsigned destroyed = 0;
    bool whole = true;
    if (!s->state_dir || !s->forensics.id[0])
        return true;
    int result = vm_key_destroy(s->state_dir, s->forensics.id, &err);
    destroyed += result > 0;
    if (result < 0)
        whole = failed(s, AUDIT_FORENSIC_DESTROYED, &err);
    // Weights that were sealed with the key of another VM: the model goes, whoever shared it.
    for (unsigned i = 0; i < s->vm.weights_count; i++) {
        const char *id = s->process.sealed[i].id;
        result = id[0] ? vm_key_destroy(s->state_dir, id, &err) : 0;
        destroyed += result > 0;
        if (result < 0)
            whole = failed(s, AUDIT_FORENSIC_DESTROYED, &err);
    }
    if (whole)
        take_note(s, AUDIT_FORENSIC_DESTROYED, destroyed);
    if (destroyed)
        fprintf(stderr, "guillotine: %u keys of %s destroyed (%s)\n", destroyed, s->vm.name,
                VM_KEY_BEST_EFFORT);
    return whole;
}

void forensics_close(struct supervisor *s)
{
    struct supervisor_forensics *f = &s->forensics;
    struct error err;
    uint64_t bytes = 0;
    // Rings still had the model's last words when its memory was scrubbed.
    for (unsigned i = 0; i < s->vm.port_count; i++) {
        if (!s->vm.ports[i].process &&
            (scrub_one(s->process.ports[i][VMM_PORT_FD_TO_HOST], &bytes, &err) < 0 ||
             scrub_one(s->process.ports[i][VMM_PORT_FD_FROM_HOST], &bytes, &err) < 0))
            failed(s, AUDIT_FORENSIC_SCRUBBED, &err);
    }
    if (f->image_fd >= 0) {
        unlink(f->path);
        close(f->image_fd);
    }
    f->image_fd = -1;
}
