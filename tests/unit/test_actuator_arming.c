// SPDX-License-Identifier: Apache-2.0
// Arming notes: both clocks, one use, one winner.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "actuator_arming.h"
#include "support.h"

#define FOR_MS 60000u

static uint64_t boot_ns = 1000 * NS_PER_S;
static uint64_t wall_ns = 1700000000 * NS_PER_S;
static char state[64];
static struct actuator_config config;

static uint64_t boot(const struct clock *clock)
{
    (void)clock;
    return boot_ns;
}

static uint64_t wall(const struct clock *clock)
{
    (void)clock;
    return wall_ns;
}

static const struct clock test_clock = {.now_ns = boot, .wall_ns = wall};

static void set_up(void)
{
    struct error err = {0};
    snprintf(state, sizeof(state), "/tmp/guillotine-arming-XXXXXX");
    cr_assert_not_null(mkdtemp(state));
    cr_assert_eq(actuator_config_simulated(state, &config, &err), 0);
}

static void tear_down(void)
{
    char command[128];
    actuator_config_free(&config);
    snprintf(command, sizeof(command), "rm -r %s", state);
    cr_assert_eq(system(command), 0);
}

static const struct actuator *fuse(void)
{
    return &config.list[ACTUATOR_IRREVERSIBLE];
}

static int arm(void)
{
    struct error err = {0};
    return actuator_arm(state, &config, fuse(), FOR_MS, "why", &test_clock, &err);
}

static int consume(struct error *err)
{
    struct actuator_arming arming;
    return actuator_arming_consume(state, &config, fuse(), &test_clock, &arming, err);
}

TestSuite(actuator_arming, .init = set_up, .fini = tear_down);

Test(actuator_arming, is_good_once)
{
    struct error err = {0};
    struct actuator_arming arming;
    cr_assert_eq(consume(&err), -1);
    cr_assert_eq(arm(), 0);
    cr_assert_eq(actuator_arming_look(state, &config, fuse(), &test_clock, &arming, &err), 0);
    cr_expect_str_eq(arming.reason, "why");
    cr_expect_eq(arming.expires_wall_s, 1700000060);
    cr_assert_eq(consume(&err), 0, "%s", err.text);
    cr_assert_eq(consume(&err), -1);
    cr_expect(strstr(err.text, "is not armed"), "%s", err.text);
    cr_assert_eq(arm(), 0);
    cr_assert_eq(actuator_disarm(state, fuse()->name, &err), 0);
    cr_assert_eq(actuator_disarm(state, fuse()->name, &err), 0);
    cr_assert_eq(consume(&err), -1);
}

Test(actuator_arming, expires_on_either_clock)
{
    const uint64_t boot_start = boot_ns;
    const uint64_t wall_start = wall_ns;
    static const struct {
        uint64_t boot_ms, wall_ms;
        int result;
    } cases[] = {
        {FOR_MS - 1, FOR_MS - 1, 0},
        {FOR_MS, 0, -1}, // the wall clock was turned back
        {0, FOR_MS, -1},
        {FOR_MS, FOR_MS, -1},
        {1ull << 40, 1ull << 40, -1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct error err = {0};
        boot_ns = boot_start;
        wall_ns = wall_start;
        cr_assert_eq(arm(), 0);
        boot_ns += cases[i].boot_ms * NS_PER_MS;
        wall_ns += cases[i].wall_ms * NS_PER_MS;
        cr_expect_eq(consume(&err), cases[i].result, "case %zu: %s", i, err.text);
        boot_ns = boot_start;
        wall_ns = wall_start;
        cr_expect_eq(consume(&err), -1, "case %zu: an expired note can be used again", i);
    }
}

Test(actuator_arming, refuses_what_is_not_to_be_armed)
{
    struct error err = {0};
    char reason[ACTUATOR_REASON_SIZE + 1];
    memset(reason, 'x', sizeof(reason) - 1);
    reason[sizeof(reason) - 1] = '\0';
    static const uint64_t times[] = {0, ACTUATOR_ARM_MAX_MS + 1, UINT64_MAX};
    const char *const reasons[] = {"", "a\"b", "a\\b", "a\nb", "\x1b", "\xc3\xa4", reason};
    cr_expect_eq(actuator_arm(state, &config, &config.list[0], 1, "why", &test_clock, &err), -1);
    for (size_t i = 0; i < COUNT(times); i++)
        cr_expect_eq(actuator_arm(state, &config, fuse(), times[i], "why", &test_clock, &err), -1);
    for (size_t i = 0; i < COUNT(reasons); i++)
        cr_expect_eq(actuator_arm(state, &config, fuse(), 1, reasons[i], &test_clock, &err), -1,
                     "%s", reasons[i]);
    cr_expect_eq(consume(&err), -1);
}

// Of many processes that fire at once, one may.
Test(actuator_arming, has_one_winner)
{
    for (unsigned round = 0; round < 20; round++) {
        int start[2];
        unsigned winners = 0;
        pid_t children[8];
        char byte;
        cr_assert_eq(pipe(start), 0);
        cr_assert_eq(arm(), 0);
        for (size_t i = 0; i < COUNT(children); i++) {
            children[i] = fork();
            if (children[i] == 0) {
                struct error err = {0};
                close(start[1]);
                if (read(start[0], &byte, 1) != 0)
                    _exit(2);
                _exit(consume(&err) ? 1 : 0);
            }
        }
        close(start[0]);
        close(start[1]); // now
        for (size_t i = 0; i < COUNT(children); i++) {
            int status;
            cr_assert_eq(waitpid(children[i], &status, 0), children[i]);
            cr_assert(WIFEXITED(status) && WEXITSTATUS(status) < 2);
            winners += WEXITSTATUS(status) == 0;
        }
        cr_assert_eq(winners, 1, "round %u: %u winners", round, winners);
    }
}

// A note with any bytes is refused, or says what a note can say; either way it is gone.
Test(actuator_arming, damage_uses_a_note_up)
{
    struct random random = random_start(21);
    char path[128];
    unsigned good = 0;
    snprintf(path, sizeof(path), "%s/actuators/armed/%s", state, fuse()->name);
    for (unsigned round = 0; round < 400; round++) {
        struct error err = {0};
        char byte = (char)random_next(&random);
        struct stat status;
        cr_assert_eq(arm(), 0);
        int fd = open(path, O_RDWR);
        cr_assert(fd >= 0 && fstat(fd, &status) == 0);
        off_t at = (off_t)random_below(&random, (uint64_t)status.st_size);
        if (random_chance(&random, 20))
            cr_assert_eq(ftruncate(fd, at), 0);
        else
            cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
        close(fd);
        good += consume(&err) == 0; // the reason, or a later time
        cr_assert_eq(access(path, F_OK), -1, "round %u", round);
        cr_assert_eq(consume(&err), -1);
    }
    cr_expect_lt(good, 80, "%u damaged notes are good", good);
}
