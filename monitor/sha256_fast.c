// SPDX-License-Identifier: Apache-2.0
// SHA-256 with the assembly of libcrypto, which uses the CPU's SHA instructions.
//
// Only the hash itself is linked: libcrypto's own detection of the CPU runs before main and
// executes dozens of CPUID instructions, so that the two symbols which would pull it in are defined
// here.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "sha256.h"

#include <cpuid.h>
#include <openssl/sha.h>
#include <stdbool.h>
#include <string.h>

// As libcrypto's assembly reads it: EDX and ECX of leaf 1, EBX and ECX of leaf 7.
extern unsigned OPENSSL_ia32cap_P[4];
unsigned OPENSSL_ia32cap_P[4];

void OPENSSL_cleanse(void *data, size_t length);
void OPENSSL_cleanse(void *data, size_t length)
{
    explicit_bzero(data, length);
}

// Bits of leaf 7 EBX that need the operating system's care for wide registers: AVX2 and AVX-512.
#define LEAF7_WIDE  (1u << 5 | 1u << 16 | 1u << 17 | 1u << 21 | 1u << 30 | 1u << 31)
#define LEAF1_AVX   (1u << 28 | 1u << 11 | 1u << 12) // AVX, XOP's stand-in, FMA
#define LEAF1_SSSE3 (1u << 9)
#define LEAF7_SHA   (1u << 29)

static void find_instructions(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return;
    OPENSSL_ia32cap_P[0] = d;
    OPENSSL_ia32cap_P[1] = c & ~LEAF1_AVX;
    if ((c & LEAF1_SSSE3) && __get_cpuid_count(7, 0, &a, &b, &c, &d))
        OPENSSL_ia32cap_P[2] = b & LEAF7_SHA & ~LEAF7_WIDE;
}

void sha256_pieces(const struct sha256_piece *pieces, unsigned count, uint8_t hash[SHA256_BYTES])
{
    static bool ready; // the recorder has one thread
    SHA256_CTX context;
    if (!ready) {
        find_instructions();
        ready = true;
    }
    SHA256_Init(&context);
    for (unsigned i = 0; i < count; i++)
        SHA256_Update(&context, pieces[i].data, pieces[i].length);
    SHA256_Final(hash, &context);
}
