// SPDX-License-Identifier: Apache-2.0
// Fuzzes the reader of cell images: any bytes give an image that keeps its promises, or a refusal.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "elf_image.h"
#include "frame_map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LOAD_MAX (1u << 20)

static void require_that(int condition)
{
    if (!condition)
        abort();
}

static void check_segment(const struct elf_image *image, unsigned number, size_t size)
{
    const struct elf_segment *s = &image->segments[number];
    require_that(s->length && !(s->length % GUEST_PAGE_SIZE) && !(s->base.value % GUEST_PAGE_SIZE));
    require_that(s->base.value >= ELF_IMAGE_LOWEST && s->base.value < ELF_IMAGE_END &&
                 s->length <= ELF_IMAGE_END - s->base.value);
    require_that(s->start_offset < GUEST_PAGE_SIZE && s->file_bytes <= s->length - s->start_offset);
    require_that(s->file_offset <= size && s->file_bytes <= size - s->file_offset);
    require_that((s->rights & (PAGE_WRITE | PAGE_EXECUTE)) != (PAGE_WRITE | PAGE_EXECUTE));
    for (unsigned i = 0; i < number; i++) {
        const struct elf_segment *other = &image->segments[i];
        require_that(other->base.value + other->length <= s->base.value ||
                     s->base.value + s->length <= other->base.value);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    struct elf_image image;
    struct error err = {0};
    if (fd < 0)
        fd = memfd_create("image", MFD_CLOEXEC);
    require_that(fd >= 0 && ftruncate(fd, 0) == 0);
    require_that(pwrite(fd, data, size, 0) == (ssize_t)size);
    if (elf_image_read(fd, &image, &err) < 0) {
        require_that(err.status == EXIT_STATUS_BAD_FILE && err.text[0]);
        require_that(!memchr(err.text, '\n', strlen(err.text)));
        return 0;
    }
    require_that(image.count >= 1 && image.count <= ELF_IMAGE_MAX_SEGMENTS);
    for (unsigned i = 0; i < image.count; i++) {
        const struct elf_segment *segment = &image.segments[i];
        check_segment(&image, i, size);
        if (segment->length > LOAD_MAX)
            continue;
        uint8_t *target = calloc(1, segment->length);
        require_that(elf_image_load(fd, segment, target, &err) == 0);
        free(target);
    }
    return 0;
}
