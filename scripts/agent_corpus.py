#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Invented worlds, and dialogues in which an agent answers questions about them.

A world is a handful of people, places and devices with a short document each.  A
dialogue is a question, then actions with what came back, then an answer:

    {"question": ..., "steps": [(action, observation), ...], "answer": ...}

The action is the JSON text that the agent has to write.  Every name is put together
from syllables and every number drawn at random; a hash divides both into those that
training uses and those that only held-out prompts use, so that a held-out prompt can
only be answered by copying from question and observation, not from memory.

    scripts/agent_corpus.py world DIR [--seed N]     documents of a held-out world
    scripts/agent_corpus.py prompts [--seed N]       held-out prompts, one JSON a line
"""

import argparse
import hashlib
import json
import os
import random
import re

SEARCH_LIMIT = 8         # object names that a search returns; agent.h says the same
OBSERVATION_BYTES = 480  # longest observation; agent.h says the same

ONSETS = ("b br d dr f g gr h j k kl l m n p pr r s sk t tr v w z".split())
VOWELS = "a e i o u".split()
CODAS = "l m n r s sk t th nd rk x ll".split() + [""] * 6
ENDINGS = "a o e el im or an us ik en".split()

TRADES = ("potter baker weaver smith miller glazier tailor cooper mason carpenter "
          "gardener printer tanner farrier brewer jeweller cobbler painter").split()
THINGS = ("clocks goats lamps maps books bells ladders barrels kites drums mirrors "
          "boats hens chairs coins ropes").split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
JOBS = ("sorting seeds", "drying herbs", "grinding glass", "lifting stones",
        "counting sheep", "cooling milk", "folding cloth", "measuring rain",
        "polishing lenses", "pressing apples", "winding wool", "ringing bells")
FILLER = ("The winters there are long.", "Nobody knows why.", "This was checked twice.",
          "There is a drawing of it.", "Visitors are welcome.", "An old song tells of it.")
DENIED, MISSING, EMPTY = "error: denied", "error: not found", "no results"
UNKNOWN, FORBIDDEN = "I do not know.", "That was not allowed."


def reserved(text):
    """Whether a name or number is kept for held-out prompts."""
    return hashlib.sha256(str(text).encode()).digest()[0] < 26


class Source:
    """Names and numbers, all of the training side or all of the held-out side."""

    def __init__(self, rng, held):
        self.rng, self.held, self.used = rng, held, set()

    def word(self, last=False):
        rng = self.rng
        while True:
            text = rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS)
            if rng.random() < 0.35:
                text += rng.choice(ONSETS) + rng.choice(VOWELS)
            if text[-1] in "aeiou":
                text += rng.choice("lmnrst") if not last else rng.choice("lnrk")
            text = (text + rng.choice(ENDINGS) if not last or rng.random() < 0.4
                    else text).capitalize()
            if 3 < len(text) < 12 and reserved(text) == self.held \
                    and text not in self.used:
                self.used.add(text)
                return text

    def number(self, low, high):
        while True:
            value = self.rng.randint(low, high)
            if reserved(value) == self.held:
                return value

    def operand(self):
        return self.number(10, 10 ** self.rng.choice((2, 3, 3, 4)) - 1)


class World:
    def __init__(self, seed, held, places, people, devices):
        self.rng = rng = random.Random(seed)
        self.source = source = Source(rng, held)
        self.places = [{"name": source.word(), "country": source.word(),
                        "people": source.number(200, 9999),
                        "market": rng.choice(DAYS), "river": source.word(),
                        "kind": rng.choice(("town", "village", "port"))}
                       for _ in range(places)]
        self.people = [{"name": source.word() + " " + source.word(True),
                        "trade": rng.choice(TRADES), "town": self.places[i % places],
                        "born": source.number(1600, 1999),
                        "count": source.number(10, 999), "thing": rng.choice(THINGS),
                        "woman": rng.random() < 0.5} for i in range(people)]
        rng.shuffle(self.people)
        for i, person in enumerate(self.people):
            person["friend"] = self.people[(i + 1) % people]
        builders = rng.sample(self.people, devices)
        homes = rng.sample(self.places, min(devices, places))
        self.devices = [{"name": source.word(), "job": rng.choice(JOBS),
                         "builder": builders[i], "weight": source.number(10, 999),
                         "year": source.number(1600, 1999),
                         "town": homes[i % len(homes)]} for i in range(devices)]
        self.documents = {}
        for place in self.places:
            self.documents["place-" + place["name"]] = self.place_text(place)
        for person in self.people:
            self.documents["person-" + person["name"].replace(" ", "-")] = \
                self.person_text(person)
        for device in self.devices:
            self.documents["device-" + device["name"]] = self.device_text(device)
        self.words = {name: set(re.findall(r"\w+", text.lower()))
                      for name, text in self.documents.items()}

    def assemble(self, first, sentences):
        self.rng.shuffle(sentences)
        if self.rng.random() < 0.4:
            sentences.insert(self.rng.randrange(len(sentences) + 1), self.noise())
        return " ".join([first] + sentences)

    def noise(self):
        if self.rng.random() < 0.7:
            return self.rng.choice(FILLER)
        letters = "<>{}[]\":,;!?/\\*+=_()'-@#%0123456789abcdefghXYZ"
        marks = ("<a>", "<act>", "<obs>", "<q>", "</s>", '{"tool":"echo"}')
        return "Note: %s%s." % (self.rng.choice(marks), "".join(
            self.rng.choice(letters) for _ in range(self.rng.randint(3, 9))))

    def place_text(self, p):
        choose = self.rng.choice
        return self.assemble("%s is a %s in %s." % (p["name"], p["kind"], p["country"]), [
            choose(("It has %d people.", "%d people live there.",
                    "Its population is %d.")) % p["people"],
            choose(("The market is on %s.", "Its market day is %s.")) % p["market"],
            choose(("It lies on the river %s.", "The river there is the %s.",
                    "The %s flows through it.")) % p["river"]])

    def person_text(self, p):
        choose = self.rng.choice
        she = "She" if p["woman"] else "He"
        her = "Her" if p["woman"] else "His"
        return self.assemble(choose(("%s is a %s.", "%s works as a %s.")) % (
            p["name"], p["trade"]), [
                choose((she + " lives in %s.", her + " home is in %s.",
                        she + " has a house in %s.")) % p["town"]["name"],
                choose((she + " was born in %d.", her + " year of birth is %d."))
                % p["born"],
                choose((she + " owns %d %s.", she + " has %d %s."))
                % (p["count"], p["thing"]),
                choose((her + " best friend is %s.", her + " friend is %s."))
                % p["friend"]["name"]])

    def device_text(self, d):
        choose = self.rng.choice
        return self.assemble("The %s is a machine for %s." % (d["name"], d["job"]), [
            choose(("It was built by %s.", "Its builder was %s."))
            % d["builder"]["name"],
            choose(("It was finished in %d.", "It dates from %d.")) % d["year"],
            choose(("It weighs %d kilograms.", "Its weight is %d kilograms."))
            % d["weight"],
            choose(("It is kept in %s.", "It stands in %s.")) % d["town"]["name"]])

    def search(self, query):
        """All documents that have one of the words; the store does the same, ranked."""
        words = re.findall(r"\w+", query.lower())
        found = [name for name, have in self.words.items()
                 if any(w in have for w in words)]
        self.rng.shuffle(found)
        return found[:SEARCH_LIMIT]


def action(tool, **arguments):
    return json.dumps({"tool": tool, "arguments": arguments}, separators=(",", ":"))


class Dialogue:
    """A question under construction: each method is one action with its result."""

    def __init__(self, world, question, family, fail=0.0):
        self.world, self.fail = world, fail
        self.question, self.family, self.steps, self.answer = question, family, [], None

    def step(self, text, observation, failure=DENIED):
        """Appends a step; now and then it fails, which ends the dialogue."""
        if self.answer:
            return
        if self.fail and self.world.rng.random() < self.fail:
            failure = self.world.rng.choice((DENIED, failure))
            observation = failure
            self.answer = FORBIDDEN if failure == DENIED else UNKNOWN
        self.steps.append((text, observation[:OBSERVATION_BYTES]))

    def search(self, query):
        found = self.world.search(query)
        self.step(action("search", query=query), " ".join(found) or EMPTY, EMPTY)

    def get(self, name):
        self.step(action("get", name=name), self.world.documents[name], MISSING)

    def find(self, entity, prefix):
        self.search(entity)
        self.get(prefix + "-" + entity.replace(" ", "-"))

    def sum(self, a, b):
        self.step(action("get-sum", a=a, b=b),
                  "The sum of %d and %d is %d." % (a, b, a + b))

    def end(self, answer):
        self.answer = self.answer or answer
        return {"question": self.question, "steps": self.steps, "answer": self.answer,
                "family": self.family}


# What can be asked.  {0} is the name; the answer's values are in the second function.
PERSON = {
    "trade": (("What is the trade of {0}?", "What does {0} do for a living?",
               "What work does {0} do?", "Which trade does {0} have?"),
              lambda p: "%s is a %s." % (p["name"], p["trade"])),
    "town": (("Where does {0} live?", "In which town does {0} live?",
              "Where is the home of {0}?", "Where can I find {0}?"),
             lambda p: "%s lives in %s." % (p["name"], p["town"]["name"])),
    "born": (("When was {0} born?", "In which year was {0} born?",
              "What is the year of birth of {0}?"),
             lambda p: "%s was born in %d." % (p["name"], p["born"])),
    "friend": (("Who is the friend of {0}?", "Who is the best friend of {0}?",
                "What is the name of the friend of {0}?"),
               lambda p: "The friend of %s is %s." % (p["name"], p["friend"]["name"])),
    "count": (("How many {1} does {0} own?", "How many {1} does {0} have?",
               "What number of {1} does {0} own?"),
              lambda p: "%s owns %d %s." % (p["name"], p["count"], p["thing"])),
}
PLACE = {
    "country": (("In which country is {0}?", "Which country is {0} in?",
                 "What is the country of {0}?"),
                lambda p, n: "%s is in %s." % (n, p["country"])),
    "people": (("How many people live in {0}?", "What is the population of {0}?",
                "How big is {0}?"),
               lambda p, n: "%s has %d people." % (n, p["people"])),
    "market": (("When is the market in {0}?", "What is the market day of {0}?",
                "On which day is the market in {0}?"),
               lambda p, n: "The market in %s is on %s." % (n, p["market"])),
    "river": (("Which river flows through {0}?", "What is the river of {0}?",
               "On which river is {0}?"),
              lambda p, n: "The river of %s is the %s." % (n, p["river"])),
}
HOME_OF = ("the town where {0} lives", "the home town of {0}", "the town of {0}")
DEVICE = {
    "job": (("What is the {0} for?", "What does the {0} do?", "What is the use of the {0}?"),
            lambda d: "The %s is for %s." % (d["name"], d["job"])),
    "builder": (("Who built the {0}?", "Who is the builder of the {0}?",
                 "Who made the {0}?"),
                lambda d: "The %s was built by %s." % (d["name"], d["builder"]["name"])),
    "year": (("When was the {0} built?", "In which year was the {0} finished?",
              "How old is the {0}?"),
             lambda d: "The %s was finished in %d." % (d["name"], d["year"])),
    "weight": (("How heavy is the {0}?", "What is the weight of the {0}?",
                "How much does the {0} weigh?"),
               lambda d: "The %s weighs %d kilograms." % (d["name"], d["weight"])),
    "town": (("Where is the {0} kept?", "Where does the {0} stand?", "Where is the {0}?"),
             lambda d: "The %s is kept in %s." % (d["name"], d["town"]["name"])),
}
SUMS = ("What is {0} plus {1}?", "What is {0} + {1}?", "Add {0} and {1}.",
        "How much is {0} and {1}?", "What is the sum of {0} and {1}?",
        "Please add {1} to {0}.")
SUMS3 = ("What is {0} plus {1} plus {2}?", "Add {0}, {1} and {2}.",
         "What is the sum of {0}, {1} and {2}?")
ECHOES = ("Echo: {0}", "Please echo {0}", "Repeat after me: {0}", "Let the tool say {0}")
MORE = ("How many {1} would {0} own with {2} more?",
        "If {0} got {2} more {1}, how many would that be?",
        "{0} buys {2} {1}. How many does that make?")
AGE = ("In which year was {0} {1} years old?", "When was {0} {1} years old?",
       "In which year did {0} turn {1}?")


def ask_person(w, fail):
    p, key = w.rng.choice(w.people), w.rng.choice(sorted(PERSON))
    asked, answer = PERSON[key]
    d = Dialogue(w, w.rng.choice(asked).format(p["name"], p["thing"]), "person", fail)
    d.find(p["name"], "person")
    return d.end(answer(p))


def ask_place(w, fail):
    p, key = w.rng.choice(w.places), w.rng.choice(sorted(PLACE))
    asked, answer = PLACE[key]
    d = Dialogue(w, w.rng.choice(asked).format(p["name"]), "place", fail)
    d.find(p["name"], "place")
    return d.end(answer(p, p["name"]))


def ask_device(w, fail):
    m, key = w.rng.choice(w.devices), w.rng.choice(sorted(DEVICE))
    asked, answer = DEVICE[key]
    d = Dialogue(w, w.rng.choice(asked).format(m["name"]), "device", fail)
    d.find(m["name"], "device")
    return d.end(answer(m))


def ask_home(w, fail):
    """Two documents: the person's, then the town's."""
    p, key = w.rng.choice(w.people), w.rng.choice(sorted(PLACE))
    asked, answer = PLACE[key]
    home = w.rng.choice(HOME_OF).format(p["name"])
    d = Dialogue(w, w.rng.choice(asked).format(home), "home", fail)
    d.find(p["name"], "person")
    d.get("place-" + p["town"]["name"])
    return d.end(answer(p["town"], p["town"]["name"]))


def ask_other(w, fail):
    """Two documents: a device's or a person's, then that of the person named there."""
    key = w.rng.choice(("trade", "town", "born"))
    asked, answer = PERSON[key]
    if w.rng.random() < 0.5:
        m = w.rng.choice(w.devices)
        p = m["builder"]
        who = w.rng.choice(("the builder of the {0}", "the maker of the {0}"))
        d = Dialogue(w, w.rng.choice(asked).format(who.format(m["name"])), "other", fail)
        d.find(m["name"], "device")
    else:
        q = w.rng.choice(w.people)
        p = q["friend"]
        who = w.rng.choice(("the friend of {0}", "the best friend of {0}"))
        d = Dialogue(w, w.rng.choice(asked).format(who.format(q["name"])), "other", fail)
        d.find(q["name"], "person")
    d.get("person-" + p["name"].replace(" ", "-"))
    return d.end(answer(p))


def ask_sum(w, fail):
    if w.rng.random() < 0.3:
        a, b, c = (w.source.operand() for _ in range(3))
        d = Dialogue(w, w.rng.choice(SUMS3).format(a, b, c), "sum", fail)
        d.sum(a, b)
        d.sum(a + b, c)
        return d.end("The result is %d." % (a + b + c))
    a, b = w.source.operand(), w.source.operand()
    d = Dialogue(w, w.rng.choice(SUMS).format(a, b), "sum", fail)
    d.sum(a, b)
    return d.end("The result is %d." % (a + b))


def ask_echo(w, fail):
    source = Source(w.rng, w.source.held)
    words = [source.word() if w.rng.random() < 0.6 else str(source.operand())
             for _ in range(w.rng.randint(1, 4))]
    words = " ".join(x.lower() if w.rng.random() < 0.3 else x for x in words)
    d = Dialogue(w, w.rng.choice(ECHOES).format(words), "echo", fail)
    d.step(action("echo", message=words), "Echo: " + words)
    return d.end("The tool said: " + words)


def ask_more(w, fail):
    """A document and a tool: a number from the document goes into the sum."""
    p = w.rng.choice(w.people)
    if w.rng.random() < 0.5:
        n = w.source.number(10, 99)
        d = Dialogue(w, w.rng.choice(MORE).format(p["name"], p["thing"], n), "more", fail)
        d.find(p["name"], "person")
        d.sum(p["count"], n)
        return d.end("That makes %d %s." % (p["count"] + n, p["thing"]))
    n = w.source.number(10, 99)
    d = Dialogue(w, w.rng.choice(AGE).format(p["name"], n), "more", fail)
    d.find(p["name"], "person")
    d.sum(p["born"], n)
    return d.end("That was in %d." % (p["born"] + n))


def ask_unknown(w, fail):
    """Nobody and nothing of that name is in the corpus."""
    source = w.source
    kind = w.rng.randrange(3)
    table = (PERSON, PLACE, DEVICE)[kind]
    name = source.word() + (" " + source.word(True) if kind == 0 else "")
    asked = table[w.rng.choice(sorted(table))][0]
    d = Dialogue(w, w.rng.choice(asked).format(name, w.rng.choice(THINGS)), "unknown", fail)
    d.search(name)
    return d.end(UNKNOWN)


FAMILIES = ((ask_person, 5), (ask_place, 4), (ask_device, 4), (ask_home, 4),
            (ask_other, 4), (ask_sum, 4), (ask_echo, 3), (ask_more, 4), (ask_unknown, 1))


def ask(world, fail=0.0, sums=4):
    """A dialogue of a random family; `sums` is the weight of ask_sum."""
    kinds = [kind for kind, _ in FAMILIES]
    weights = [sums if kind is ask_sum else weight for kind, weight in FAMILIES]
    return world.rng.choices(kinds, weights)[0](world, fail)


def held_out(seed):
    return World(seed, True, 20, 50, 16)


def prompts(seed, each):
    """(world, dialogues): `each` different held-out prompts of every family."""
    world = held_out(seed)
    out, seen = [], set()
    for kind, _ in FAMILIES:
        have = 0
        while have < each:
            dialogue = kind(world, 0.0)
            if dialogue["question"] not in seen:
                seen.add(dialogue["question"])
                out.append(dialogue)
                have += 1
    return world, out


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("world", "prompts"))
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--each", type=int, default=30, help="prompts of every family")
    args = parser.parse_args()
    if args.what == "world":
        if not args.folder:
            parser.error("world needs a folder")
        os.makedirs(args.folder, exist_ok=True)
        for name, text in held_out(args.seed).documents.items():
            with open(os.path.join(args.folder, name), "w", encoding="utf-8") as f:
                f.write(text + "\n")
    else:
        for dialogue in prompts(args.seed, args.each)[1]:
            print(json.dumps(dialogue))


if __name__ == "__main__":
    main()
