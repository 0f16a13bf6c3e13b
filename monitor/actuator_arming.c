// SPDX-License-Identifier: Apache-2.0
// Notes that arm actuators.
#include "actuator_arming.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "json_text.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define DIGEST_HEX   (2 * ACTUATOR_DIGEST_BYTES + 1)

// A note as it stands in its file.
struct note {
    struct actuator_arming arming;
    char actuator[ACTUATOR_NAME_SIZE];
    char boot_id[ACTUATOR_BOOT_ID_SIZE];
    char config[DIGEST_HEX];
};

// Opens a folder below `parent`; makes it if it is missing. Bits of `refused` in its mode mean that
// others could have put something there.
static int open_folder(int parent, const char *name, mode_t refused, struct error *err)
{
    struct stat status;
    if (mkdirat(parent, name, 0700) == 0) {
        if (fsync(parent) < 0)
            return error_set(err, EXIT_STATUS_RESOURCES, errno, "fsync of the folder of %s", name);
    } else if (errno != EEXIST) {
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "create %s", name);
    }
    cleanup_fd int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "open %s", name);
    if (status.st_uid != geteuid() || (status.st_mode & refused))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "folder %s of the state directory is open to others: its owner has to be "
                         "this user, its mode 0700",
                         name);
    return steal_fd(&fd);
}

int actuator_folder_open(const char *state_dir, struct error *err)
{
    cleanup_fd int state = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (state < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "state directory %s", state_dir);
    return open_folder(state, "actuators", 022, err);
}

static int open_armed(const char *state_dir, struct error *err)
{
    cleanup_fd int actuators = actuator_folder_open(state_dir, err);
    return actuators < 0 ? -1 : open_folder(actuators, "armed", 077, err);
}

static int read_boot_id(char id[ACTUATOR_BOOT_ID_SIZE], struct error *err)
{
    cleanup_fd int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, id, ACTUATOR_BOOT_ID_SIZE - 1);
    if (n < 36)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "read the boot's id");
    id[36] = '\0';
    return 0;
}

static void digest_text(const struct actuator_config *config, char text[DIGEST_HEX])
{
    sodium_bin2hex(text, DIGEST_HEX, config->digest, sizeof(config->digest));
}

// A text field of a note: printable, without what JSON would escape, so that what was written is
// what is read.
static int read_note_text(const struct json_place *place, void *target, struct error *err)
{
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    if (strlen(text) >= place->field->maximum)
        return json_refuse(place, JSON_PART_VALUE, err, "too long");
    memcpy((char *)target + place->field->offset, text, strlen(text) + 1);
    return 0;
}

static int read_note_format(const struct json_place *place, void *target, struct error *err)
{
    const char *text;
    (void)target; // checked, not kept
    if (json_read_text(place, &text, err))
        return -1;
    return strcmp(text, ACTUATOR_ARMING_FORMAT)
               ? json_refuse(place, JSON_PART_VALUE, err, "this is not " ACTUATOR_ARMING_FORMAT)
               : 0;
}

static int parse_note(const char *name, const char *text, size_t length, struct note *note,
                      struct error *err)
{
#define NOTE_TEXT(key, member)                                                                     \
    {                                                                                              \
        key, read_note_text, true, offsetof(struct note, member), 0,                               \
            sizeof(((struct note *)0)->member)                                                     \
    }
    static const struct json_field fields[] = {
        {"format", read_note_format, true, 0, 0, 0},
        NOTE_TEXT("actuator", actuator),
        NOTE_TEXT("boot_id", boot_id),
        NOTE_TEXT("config", config),
        NOTE_TEXT("reason", arming.reason),
        {"expires_wall_s", json_field_u64, true, offsetof(struct note, arming.expires_wall_s), 0,
         INT64_MAX},
        {"expires_boot_ms", json_field_u64, true, offsetof(struct note, arming.expires_boot_ms), 0,
         INT64_MAX},
    };
    cleanup_json_document struct json_document document = {0};
    if (json_document_parse(&document, name, text, length, ACTUATOR_NOTE_MAX_BYTES, err))
        return -1;
    const struct json_place root = json_document_root(&document);
    return json_read_object(&root, fields, COUNT(fields), note, err);
}

static int read_note(int folder, const char *file, const char *name, struct note *note,
                     struct error *err)
{
    char text[ACTUATOR_NOTE_MAX_BYTES + 1];
    struct stat status;
    cleanup_fd int fd = openat(folder, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return error_set(err, EXIT_STATUS_FAILURE, 0,
                         "%s is not armed: guillotine actuator arm %s --for 10m --reason ...", name,
                         name);
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "the arming note of %s", name);
    if (!S_ISREG(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 077) ||
        status.st_nlink != 1)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "the arming note of %s is not a file of this user's alone (mode 0600)",
                         name);
    ssize_t n = read(fd, text, sizeof(text));
    if (n < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "the arming note of %s", name);
    if (parse_note(name, text, (size_t)n, note, err))
        return error_wrap(err, "the arming note");
    return 0;
}

// Whether a note is good for this actuator now.
static int check_note(const struct note *note, const struct actuator_config *config,
                      const struct actuator *actuator, const struct clock *clock, struct error *err)
{
    char boot_id[ACTUATOR_BOOT_ID_SIZE];
    char digest[DIGEST_HEX];
    const char *complaint = NULL;
    if (read_boot_id(boot_id, err))
        return -1;
    digest_text(config, digest);
    if (strcmp(note->actuator, actuator->name))
        complaint = "is that of another actuator";
    else if (strcmp(note->config, digest))
        complaint = "was made for another configuration";
    else if (strcmp(note->boot_id, boot_id))
        complaint = "is from before the machine was started";
    else if (clock_now_ns(clock) / NS_PER_MS >= note->arming.expires_boot_ms ||
             clock_wall_ns(clock) / NS_PER_S >= note->arming.expires_wall_s)
        complaint = "has expired";
    else if (note->arming.expires_boot_ms - clock_now_ns(clock) / NS_PER_MS > ACTUATOR_ARM_MAX_MS ||
             note->arming.expires_wall_s - clock_wall_ns(clock) / NS_PER_S >
                 ACTUATOR_ARM_MAX_MS / 1000 + 1)
        complaint = "is good for longer than one can be";
    if (complaint)
        return error_set(err, EXIT_STATUS_FAILURE, 0, "the arming note of %s %s: arm it again",
                         actuator->name, complaint);
    return 0;
}

static int write_note(int folder, const char *name, const char *text, size_t length,
                      struct error *err)
{
    char temporary[ACTUATOR_NAME_SIZE + 32];
    snprintf(temporary, sizeof(temporary), ".%s.%d", name, getpid());
    unlinkat(folder, temporary, 0); // of a process with this number that died here
    cleanup_fd int fd =
        openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "the arming note of %s", name);
    errno = 0;
    if (write(fd, text, length) != (ssize_t)length || fsync(fd) < 0 ||
        renameat(folder, temporary, folder, name) < 0) {
        int code = errno;
        unlinkat(folder, temporary, 0);
        return error_set(err, EXIT_STATUS_RESOURCES, code, "write the arming note of %s", name);
    }
    if (fsync(folder) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "write the arming note of %s", name);
    return 0;
}

static bool is_plain(const char *text)
{
    for (; *text; text++) {
        if (*text < 0x20 || *text > 0x7e || *text == '"' || *text == '\\')
            return false;
    }
    return true;
}

int actuator_arm(const char *state_dir, const struct actuator_config *config,
                 const struct actuator *actuator, uint64_t for_ms, const char *reason,
                 const struct clock *clock, struct error *err)
{
    char boot_id[ACTUATOR_BOOT_ID_SIZE];
    char digest[DIGEST_HEX];
    char text[ACTUATOR_NOTE_MAX_BYTES];
    if (actuator->class == ACTUATOR_REVERSIBLE)
        return error_set(err, EXIT_STATUS_USAGE, 0, "%s is reversible: it needs no arming",
                         actuator->name);
    if (!*reason || strlen(reason) >= ACTUATOR_REASON_SIZE || !is_plain(reason))
        return error_set(err, EXIT_STATUS_USAGE, 0,
                         "give a reason of 1 to %d printable ASCII characters without quotes and "
                         "backslashes",
                         ACTUATOR_REASON_SIZE - 1);
    if (!for_ms || for_ms > ACTUATOR_ARM_MAX_MS)
        return error_set(err, EXIT_STATUS_USAGE, 0, "arm for 1 s to 24 h");
    if (read_boot_id(boot_id, err))
        return -1;
    cleanup_fd int folder = open_armed(state_dir, err);
    if (folder < 0)
        return -1;
    digest_text(config, digest);
    uint64_t wall_s = (clock_wall_ns(clock) / NS_PER_MS + for_ms) / 1000;
    uint64_t boot_ms = clock_now_ns(clock) / NS_PER_MS + for_ms;
    int n = snprintf(
        text, sizeof(text),
        "{\"format\":\"%s\",\"actuator\":\"%s\",\"boot_id\":\"%s\",\"config\":\"%s\","
        "\"reason\":\"%s\",\"expires_wall_s\":%" PRIu64 ",\"expires_boot_ms\":%" PRIu64 "}\n",
        ACTUATOR_ARMING_FORMAT, actuator->name, boot_id, digest, reason, wall_s, boot_ms);
    return write_note(folder, actuator->name, text, (size_t)n, err);
}

int actuator_arming_look(const char *state_dir, const struct actuator_config *config,
                         const struct actuator *actuator, const struct clock *clock,
                         struct actuator_arming *arming, struct error *err)
{
    struct note note = {0};
    cleanup_fd int folder = open_armed(state_dir, err);
    if (folder < 0 || read_note(folder, actuator->name, actuator->name, &note, err) ||
        check_note(&note, config, actuator, clock, err))
        return -1;
    *arming = note.arming;
    return 0;
}

int actuator_arming_consume(const char *state_dir, const struct actuator_config *config,
                            const struct actuator *actuator, const struct clock *clock,
                            struct actuator_arming *arming, struct error *err)
{
    struct note note = {0};
    char taken[ACTUATOR_NAME_SIZE + 32];
    cleanup_fd int folder = open_armed(state_dir, err);
    if (folder < 0)
        return -1;
    // Renaming is what only one of several can do. What follows concerns the file that was taken,
    // whatever appears under the name meanwhile.
    snprintf(taken, sizeof(taken), ".%s.taken.%d", actuator->name, getpid());
    if (renameat(folder, actuator->name, folder, taken) < 0 && errno != ENOENT)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "take the arming note of %s",
                         actuator->name);
    int result = read_note(folder, taken, actuator->name, &note, err);
    if (result == 0)
        result = check_note(&note, config, actuator, clock, err);
    if (unlinkat(folder, taken, 0) < 0 && errno != ENOENT)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "remove the arming note of %s",
                         actuator->name);
    // A note that might come back after a power cut could be used twice.
    if (fsync(folder) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "remove the arming note of %s",
                         actuator->name);
    *arming = note.arming;
    return result;
}

int actuator_disarm(const char *state_dir, const char *name, struct error *err)
{
    cleanup_fd int folder = open_armed(state_dir, err);
    if (folder < 0)
        return -1;
    if (unlinkat(folder, name, 0) < 0 && errno != ENOENT)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "disarm %s", name);
    if (fsync(folder) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "disarm %s", name);
    return 0;
}
