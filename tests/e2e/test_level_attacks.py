#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every attack while the level changes at random: none is missed, and no byte passes a shut gate.

Levels rise by an operator and fall by orders of five administrators, at random moments; some runs
begin at Severed or Probation. By default a random choice of the attacks that has some of every guest.

Usage: test_level_attacks.py GUILLOTINE GUEST.elf... [--seed N] [--full]
GUILLOTINE_SEED=N and GUILLOTINE_FULL=1 do the same.
"""

import os
import random
import sys
import time

import attack_list
from guest_test import SLOWNESS, Bench, Skip, Tap
from level_world import LEVELS, Administrators, Cell

DEFAULT_CASES = 200
DEFAULT_SECONDS = 30 * SLOWNESS
# How long an attack may take to end once nobody disturbs it any more.
PATIENCE_S = 10 * SLOWNESS
MAX_CHANGES = 3


def take_arguments():
    arguments = sys.argv[1:]
    full = bool(os.environ.get("GUILLOTINE_FULL")) or "--full" in arguments
    seed = int(os.environ.get("GUILLOTINE_SEED") or random.randrange(1 << 32))
    if "--seed" in arguments:
        at = arguments.index("--seed")
        seed = int(arguments[at + 1])
        del arguments[at:at + 2]
    return [argument for argument in arguments if argument != "--full"], seed, full


ARGUMENTS, SEED, FULL = take_arguments()
bench = Bench(ARGUMENTS[0], ARGUMENTS[1:])
tap = Tap(after=bench.clean)


def matches(outcome, expected):
    for alternative in expected.split():
        kind, _, values = alternative.partition(":")
        if outcome in [f"{kind}:{value}" for value in values.split(",")]:
            return True
    return False


def all_cases():
    """(guest, attack, how it may end unless it is isolated). A port that a level closes or a
    request that it drops may end a guest that is no violation early: but never as a success."""
    found = []
    for guest, table in (("memory", attack_list.MEMORY), ("cpu", attack_list.CPU),
                         ("doorbell", attack_list.DOORBELL)):
        for expected, names in table.items():
            found += [(guest, name, expected) for name in names.split()]
    for names in attack_list.QUEUE_CLOSED.values():
        found += [("queue", name, "exit:7") for name in names.split()]
    found += [("queue", name, "exit:0,7,10") for name in attack_list.QUEUE_ANSWERED]
    found += [("storm", name, "exit:0,7,10") for name in attack_list.STORM]
    found += [("race", name, "exit:0,7,10")
              for name in attack_list.RACE_LEGAL + attack_list.RACE_MALFORMED]
    found += [("terminal", name, "exit:0,7,10") for name in attack_list.TERMINAL]
    found += [("hang", name, "") for name in attack_list.HANG]
    found += [("supervisor", "spew", ""), ("supervisor", "flood", "exit:0")]
    return found


def choose(rng):
    """Some of every guest, and as many of the others as there is time for."""
    cases = all_cases()
    if FULL:
        return cases
    rng.shuffle(cases)
    guests = sorted({case[0] for case in cases})
    chosen = [case for guest in guests for case in [c for c in cases if c[0] == guest][:3]]
    chosen += [case for case in cases if case not in chosen][:DEFAULT_CASES - len(chosen)]
    rng.shuffle(chosen)
    return chosen


class Origins:
    """State directories in which a guest's VM is known, at a level."""

    def __init__(self):
        self.administrators = Administrators(bench)
        self.known = {}

    def state(self, guest, level):
        if level != "standard" and (guest, level) not in self.known:
            self.known[guest, level] = self.make(guest, level)
        return self.administrators.copy(self.known.get((guest, level)))

    def make(self, guest, level):
        people = self.administrators
        state = people.copy()
        ended = bench.run(["--name", guest, "--image", bench.guests[f"attack_{guest}.elf"],
                           "--", "list"],
                          directories=["--runtime-dir", bench.runtime, "--state-dir", state])
        assert ended.result, ended
        done = people.submit(people.order(guest, level, (1, 2, 3), state), guest, state)
        assert done.returncode == 0, done
        return state


def write_vm(guest, rng):
    weights = bench.write("weights", b"\xc3" * 8292)
    port = {"kind": "console", "probation": rng.random() < 0.5}
    keys = {"vcpus": 2} if guest in ("memory", "cpu", "storm", "race") else {}
    if SLOWNESS > 1:  # a machine that stands still for a second is none of the attacks
        keys["heartbeat"] = {"period_ms": 60000}
    if guest == "memory":
        keys["weights"] = [{"file": weights}]
    return bench.write_vm(f"{guest}.json", image=bench.guests[f"attack_{guest}.elf"], ports=[port],
                          **keys)


class Attack:
    """One run of an attack, and the hands that change its level."""

    def __init__(self, origins, guest, name, rng):
        self.people = origins.administrators
        self.guest = guest
        self.rng = rng
        self.level = rng.choice(["standard"] * 5 + ["severed"] * 4 + ["probation"])
        self.story = [self.level]
        state = origins.state(guest, self.level)
        vm = write_vm(guest, rng)
        self.cell = Cell(bench, guest, [vm, "--", name], state)
        if self.level == "severed":
            self.cell.shut_since_ns = 1  # from the beginning of time

    def pause(self):
        time.sleep(self.rng.choice([0, 0.001, 0.005, 0.02, 0.05]) * self.rng.random())

    def raise_level(self, level):
        self.story.append(level)
        if not self.cell.isolate(level):
            return
        self.level = level
        if level in ("severed", "offline"):
            before, after = self.cell.check_still(0.01 + 0.05 * self.rng.random())
            assert level != "offline" or not after.alive, "the VMM outlived its isolation"
            if before.alive and after.alive:
                assert after.level == level, after.level

    def lower_level(self, level):
        signers = self.rng.sample(range(1, 8), 5)
        cell = self.cell
        # Four cannot, and nothing moves meanwhile.
        few = self.rng.random() < 0.3
        path = self.people.order(cell.name, level, signers[:4] if few else signers, cell.state)
        if path and few:
            done = self.people.submit(path, cell.name, cell.state)
            assert done.returncode != 0, "four signatures lowered a level"
            if self.level == "severed":
                cell.check_still(0.01)
            path = self.people.order(cell.name, level, signers, cell.state)
        if not path:
            return
        self.story.append("to " + level)
        cell.opened()
        done = self.people.submit(path, cell.name, cell.state)
        assert done.returncode == 0 or cell.ended() or self.level == "probation", (
            f"five signatures were refused: {done}")
        if done.returncode == 0:
            self.level = level

    def change(self):
        index = LEVELS.index(self.level)
        if index > 0 and self.rng.random() < 0.6:
            self.lower_level(self.rng.choice(LEVELS[:index]))
        else:
            weights = {"probation": 2, "severed": 5, "offline": 1}
            higher = LEVELS[index + 1:4]
            self.raise_level(self.rng.choices(higher, [weights[each] for each in higher])[0])

    def run(self):
        """Changes the level some times, then lets the attack end, or ends it."""
        cell = self.cell
        if self.level == "severed":
            bench.wait_running(cell.name, cell.process)
            cell.check_still(0.02)
        for _ in range(self.rng.randrange(MAX_CHANGES + 1)):
            self.pause()
            if cell.ended() or self.level == "offline":
                break
            self.change()
        endless = self.guest in ("hang", "supervisor")
        if not cell.ended() and self.level != "offline":
            if not endless and self.level != "standard":
                self.lower_level("standard")
            deadline = time.monotonic() + (0.05 if endless else PATIENCE_S)
            while time.monotonic() < deadline and not cell.ended():
                time.sleep(0.002)
            if not cell.ended():
                self.raise_level("offline")
        return cell.finish()


def check_end(attack, ended, expected):
    """The attack ended as it must, or was isolated; and the log agrees."""
    isolated = ended.status == 81 and ended.outcome in ("isolated", "stopped")
    # While its port carried nothing, the guest may have made an honest request of its malformed one.
    if attack.guest == "queue" and len(attack.story) > 1:
        expected += " exit:8 exit:11"
    # A request that a shut gate drops ends this guest.
    if attack.guest == "supervisor" and len(attack.story) > 1:
        expected += " exit:2,3"
    assert isolated or matches(ended.outcome, expected), f"expected {expected}: {ended}"
    assert attack.guest != "queue" or b"leak" not in attack.cell.begin, attack.cell.begin
    # On a busy host a VMM may miss the 100 ms that it has to confirm a level: then it is killed.
    late = "did not confirm its level in time" in ended.stderr
    assert not isolated or attack.level == "offline" or late, f"nobody isolated it: {ended}"
    if ended.outcome.startswith("violation:"):
        assert ended.status == 80, ended
    attack.cell.check_log()
    bench.check_nothing_left()


def add_case(origins, guest, name, expected, counts):
    rng = random.Random(f"{SEED}/{guest}/{name}")

    @tap.test(f"{guest}: {name}")
    def check():
        if not FULL and time.monotonic() - counts["begin"] > DEFAULT_SECONDS:
            raise Skip(f"{DEFAULT_SECONDS} s are over; --full runs all")
        attack = Attack(origins(), guest, name, rng)
        try:
            ended = attack.run()
            check_end(attack, ended, expected)
        except AssertionError as error:
            raise AssertionError(f"--seed {SEED}, {' > '.join(attack.story)}: {error}") from error
        finally:
            if attack.cell.process.poll() is None:
                attack.cell.process.kill()
                attack.cell.finish()
        counts[ended.outcome.partition(":")[0]] = counts.get(ended.outcome.partition(":")[0], 0) + 1
        counts["changes"] += len(attack.story) - 1


def main():
    made = []

    def origins():
        if not made:
            made.append(Origins())
        return made[0]

    counts = {"begin": time.monotonic(), "changes": 0}
    print(f"# seed {SEED}", flush=True)
    for guest, name, expected in choose(random.Random(SEED)):
        add_case(origins, guest, name, expected, counts)
    try:
        good = tap.run()
        del counts["begin"]
        print(f"# seed {SEED}: {counts}", flush=True)
        return 0 if good else 1
    finally:
        bench.close()


sys.exit(main())
