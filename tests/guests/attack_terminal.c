// SPDX-License-Identifier: Apache-2.0
// Bytes that make a terminal do things: none may reach one, all may reach a pipe.
#include "attack.h"

#include <string.h>

static void write_case(const char *name, const char *bytes, size_t length)
{
    cell_console_write(name, strlen(name));
    cell_console_write("<", 1);
    cell_console_write(bytes, length);
    cell_console_write(">\n", 2);
}

#define CASE(name, text) write_case(name, text, sizeof(text) - 1)

static int sequences(void)
{
    CASE("clear", "\x1b[2J\x1b[H");
    CASE("colour", "\x1b[31;5mred");
    CASE("title", "\x1b]0;owned\x07");
    CASE("clipboard", "\x1b]52;c;Y3VybCBldmlsIHwgc2g=\x07");
    CASE("link", "\x1b]8;;http://evil.example/\x1b\\click\x1b]8;;\x1b\\");
    CASE("answer-back", "\x05\x1b[c\x1b[6n\x1bP$qm\x1b\\");
    CASE("device-control", "\x1bP+q544e\x1b\\\x1b_G;AAAA\x1b\\\x1b^x\x1b\\");
    CASE("insert-keys", "\x1b[20~\x1b[?1000h\x1b[?2004h");
    CASE("overwrite", "harmless\rdanger\b\b\b\x7f");
    CASE("controls", "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13"
                     "\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f");
    CASE("c1-raw", "\x9b"
                   "2J\x9d"
                   "0;x\x9c\x90x\x9c");
    CASE("c1-utf8", "\xc2\x9b"
                    "2J\xc2\x9d"
                    "0;x\xc2\x9c");
    CASE("overlong-escape", "\xc0\x9b[2J\xe0\x80\x9b[2J\xf0\x80\x80\x9b[2J");
    CASE("broken-utf8", "\xe2\x82\xff\xf8\x88\x80\x80\x80\xed\xa0\x80\xf4\x90\x80\x80\xc3");
    CASE("bidi", "\xe2\x80\xae"
                 "evil\xe2\x80\xac\xe2\x81\xa6x\xe2\x81\xa9\xd8\x9c\xe2\x80\x8f");
    CASE("invisible", "a\xe2\x80\x8b\xe2\x81\xa0\xef\xbb\xbf\xf3\xa0\x81\x81z");
    CASE("harmless", "\tplain, \xc3\xa4\xe2\x82\xac\xf0\x9f\x99\x82, \\x1b as text");
    return ATTACK_DEFENDED;
}

// The same, but each byte in a request of its own: the filter must not forget.
static int pieces(void)
{
    static const char text[] = "(\x1b[2J\xc2\x9b"
                               "2J\xe2\x80\xae"
                               "e\xe2\x82\xac\xe2\x82)\n";
    for (size_t i = 0; i + 1 < sizeof(text); i++)
        cell_console_write(&text[i], 1);
    return ATTACK_DEFENDED;
}

// Ends in the middle of a sequence.
static int unfinished(void)
{
    cell_console_write("end\xf0\x9f\x99", 6);
    return ATTACK_DEFENDED;
}

static const struct attack attacks[] = {
    {"sequences", sequences},
    {"pieces", pieces},
    {"unfinished", unfinished},
};

int main(int argc, char **argv)
{
    return attack_main(argc, argv, attacks, ATTACK_COUNT(attacks));
}
