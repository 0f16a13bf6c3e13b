// SPDX-License-Identifier: Apache-2.0
// The instruction set of an integer template: included by kernel_block.h and kernel_super.h, which
// a kernel file includes once for AVX2 and, with KERNEL_VNNI defined, once more for AVX-512 VNNI.

/* KERNEL_NAME(name)               the name of a function in this set
 * KERNEL, KERNEL_INLINE           the attributes of functions that use the set
 * ADD_BYTES(sum, bytes, signed)   adds the products of each four unsigned and signed bytes to the
 *                                 32-bit lanes of the sum
 * ADD_PAIRS(sum, left, right)     adds those of each two 16-bit numbers
 *
 * The AVX-512 set is the AVX2 one with one instruction for each of the two sums, on registers of
 * 256 bits. LLM_VNNI_EMULATED has a test provide these two instructions. */

#undef KERNEL_NAME
#undef KERNEL
#undef KERNEL_INLINE
#undef ADD_BYTES
#undef ADD_PAIRS

#ifdef KERNEL_VNNI
#define KERNEL_NAME(name) name##_vnni
#ifdef LLM_VNNI_EMULATED
#define KERNEL        LLM_AVX2
#define KERNEL_INLINE LLM_AVX2_INLINE
#define ADD_BYTES     emulated_dpbusd
#define ADD_PAIRS     emulated_dpwssd
#else
#define KERNEL        LLM_VNNI
#define KERNEL_INLINE LLM_VNNI_INLINE
#define ADD_BYTES     _mm256_dpbusd_epi32
#define ADD_PAIRS     _mm256_dpwssd_epi32
#endif
#else
#define KERNEL_NAME(name)           name##_avx2
#define KERNEL                      LLM_AVX2
#define KERNEL_INLINE               LLM_AVX2_INLINE
#define ADD_BYTES                   llm_add_bytes
#define ADD_PAIRS(sum, left, right) _mm256_add_epi32(sum, _mm256_madd_epi16(left, right))
#endif

/* Computes the products of a row with a panel of vectors; `vectors`, at most PANEL_MAX, is a
 * constant at every call, so that the loops unroll and the sums stay in registers. */
KERNEL_INLINE void KERNEL_NAME(multiply_panel)(const struct llm_product *product, size_t row,
                                               size_t first_vector, size_t vectors);

/* The panels of each row: whole ones, then single vectors. A row is unpacked again for each, from
 * the first cache. */
KERNEL_INLINE void KERNEL_NAME(multiply_panels)(const struct llm_product *product,
                                                size_t panel_vectors)
{
    for (size_t row = 0; row < product->row_count; row++) {
        size_t vector = 0;
        for (; vector + panel_vectors <= product->vector_count; vector += panel_vectors) {
            KERNEL_NAME(multiply_panel)(product, row, vector, panel_vectors);
        }
        for (; vector < product->vector_count; vector++) {
            KERNEL_NAME(multiply_panel)(product, row, vector, 1);
        }
    }
}
