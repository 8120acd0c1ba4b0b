/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/sha256.h"

/* Examples of FIPS 180-4 and its companion document. */
static void knows_the_published_digests(void **state)
{
    char hex[M2S_SHA256_HEX_BYTES];
    static char million[1000000];

    (void)state;
    m2s_sha256_hex(NULL, 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    m2s_sha256_hex("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    m2s_sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, hex);
    assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    memset(million, 'a', sizeof million);
    m2s_sha256_hex(million, sizeof million, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void pieces_of_any_size_give_the_same(void **state)
{
    unsigned char data[300];
    char whole[M2S_SHA256_HEX_BYTES];
    char pieces[M2S_SHA256_HEX_BYTES];
    m2s_sha256 hash;

    (void)state;
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (unsigned char)(i * 7);
    }
    m2s_sha256_hex(data, sizeof data, whole);
    for (size_t piece = 1; piece <= sizeof data; piece++) {
        m2s_sha256_init(&hash);
        for (size_t at = 0; at < sizeof data; at += piece) {
            m2s_sha256_update(&hash, data + at, sizeof data - at < piece ? sizeof data - at : piece);
        }
        m2s_sha256_finish(&hash, pieces);
        assert_string_equal(pieces, whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_the_published_digests),
        cmocka_unit_test(pieces_of_any_size_give_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
